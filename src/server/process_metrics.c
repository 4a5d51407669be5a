#include "server/process_metrics.h"

#include "base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static long resident_pages(void) {
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%ld %ld", &size, &resident) != 2) {
            resident = 0;
        }
        fclose(f);
    }
    return resident;
}

static unsigned long open_descriptors(void) {
    unsigned long count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir) {
        while (readdir(dir)) {
            count++;
        }
        closedir(dir);
    }
    return count > 3 ? count - 3 : 0; /* ".", "..", and the folder itself */
}

void process_metrics(struct buf *out) {
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    buf_printf(out, "# TYPE process_cpu_seconds counter\n# UNIT process_cpu_seconds seconds\nprocess_cpu_seconds_total %.6f\n",
               (double) clock_cpu_us() / 1e6);
    buf_printf(out, "# TYPE process_resident_memory_bytes gauge\n# UNIT process_resident_memory_bytes bytes\nprocess_resident_memory_bytes %ld\n",
               resident_pages() * sysconf(_SC_PAGESIZE));
    buf_printf(out, "# TYPE process_open_fds gauge\nprocess_open_fds %lu\n", open_descriptors());
    buf_printf(out, "# TYPE process_max_fds gauge\nprocess_max_fds %lu\n", (unsigned long) limit.rlim_cur);
}
