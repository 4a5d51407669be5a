/* job_result.h: what a command of `bowline work` has put out, as a final report. Bytes become JSON as they are or not at all. */
#ifndef BOWLINE_CLI_JOB_RESULT_H
#define BOWLINE_CLI_JOB_RESULT_H

#include "base/buf.h"

/* Arrays and objects that a result may have within each other: the server takes 64, of which the report is one, and the array that it travels in. */
#define RESULT_DEPTH 62

/*
 * The report of a command that has succeeded, from its standard output: nothing but white space is no result, JSON is the result to the letter, other text is a text
 * without the newlines at its end. What is no text fails the task. False if it does. Appends to note what people should know; nothing if all is plain.
 */
bool job_result_put(struct str output, struct buf *report, struct buf *note);
/* A member of an error's detail with a comma before it: "stderr", or "stderr_base64" if it is no text. cut: its beginning is missing, and may lie within a character. */
void job_stderr_put(struct str tail, bool cut, struct buf *more);

#endif
