/* process_metrics.h: what every exporter says of its process, as OpenMetrics text. */
#ifndef BOWLINE_SERVER_PROCESS_METRICS_H
#define BOWLINE_SERVER_PROCESS_METRICS_H

#include "base/buf.h"

void process_metrics(struct buf *out); /* any thread */

#endif
