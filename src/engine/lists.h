/* lists.h: heads of lists that lie in other structures than their members: for these the members' names are enough. */
#ifndef BOWLINE_ENGINE_LISTS_H
#define BOWLINE_ENGINE_LISTS_H

#include <sys/queue.h>

TAILQ_HEAD(task_list, task_entry);
TAILQ_HEAD(session_list, session_entry);
TAILQ_HEAD(gone_list, gone_entry);
LIST_HEAD(channel_list, channel);
TAILQ_HEAD(behind_list, channel);
TAILQ_HEAD(load_list, load);
TAILQ_HEAD(recent_list, recent);
LIST_HEAD(stopped_list, stopped_stream);

#endif
