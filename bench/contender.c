#include "contender.h"

#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct report {
    struct turn turn;
    unsigned faults;
};

struct sample *sample_create(void) {
    struct sample *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) {
        die("mmap: %s", strerror(errno));
    }
    return s;
}

/* ---- the parent ---- */

static void contender_wait(struct contender *c, struct turn *ret) {
    struct report r;
    if (read(c->tell, &r, sizeof r) != (ssize_t) sizeof r) {
        die("%s did not come to its end", c->name);
    }
    fault_add(r.faults);
    if (ret) {
        *ret = r.turn;
    }
}

void contender_start(struct contender *c, const char *name, const struct plan *plan, struct sample *sample, void (*body)(struct side *s)) {
    int ask[2], tell[2];
    if (pipe2(ask, O_CLOEXEC) || pipe2(tell, O_CLOEXEC)) {
        die("pipe: %s", strerror(errno));
    }
    fflush(stdout);
    c->name = name;
    c->pid = fork();
    if (c->pid < 0) {
        die("fork: %s", strerror(errno));
    }
    if (c->pid == 0) {
        struct side side = {plan, sample, ask[0], tell[1]};
        close(ask[1]);
        close(tell[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        poller_init();
        body(&side);
        exit(0);
    }
    close(ask[0]);
    close(tell[1]);
    c->ask = ask[1];
    c->tell = tell[0];
    contender_wait(c, NULL);
}

void contender_run(struct contender *c, int what, struct turn *ret) {
    if (write(c->ask, &what, sizeof what) != (ssize_t) sizeof what) {
        die("%s is gone", c->name);
    }
    contender_wait(c, ret);
}

void contender_stop(struct contender *c) {
    int status, stop = -1; /* closing the pipe would not do: the other sides have it too */
    if (write(c->ask, &stop, sizeof stop) != (ssize_t) sizeof stop) {
        fault("%s is gone", c->name);
    }
    close(c->ask);
    if (waitpid(c->pid, &status, 0) != c->pid || !WIFEXITED(status) || WEXITSTATUS(status)) {
        fault("%s ended badly", c->name);
    }
    close(c->tell);
}

/* ---- the child ---- */

int side_next(struct side *s, const struct turn *done) {
    static unsigned told;
    struct report r = {.turn = done ? *done : (struct turn){0}, .faults = fault_count() - told};
    int what;
    told = fault_count();
    if (write(s->tell, &r, sizeof r) != (ssize_t) sizeof r) {
        die("nobody listens");
    }
    return read(s->ask, &what, sizeof what) == (ssize_t) sizeof what ? what : -1;
}

void turn_begin(struct turn *t, pid_t pid) {
    *t = (struct turn){.cpu_s = -cpu_seconds(pid), .wall_s = -(double) now_ns() * 1e-9};
}

void turn_end(struct turn *t, pid_t pid) {
    t->cpu_s += cpu_seconds(pid);
    t->wall_s += (double) now_ns() * 1e-9;
}
