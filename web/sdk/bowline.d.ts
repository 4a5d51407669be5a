// Types of bowline for browsers and Node. Each name says what it gives, what it throws, and when.

export type TaskState = 'queued' | 'running' | 'input_required' | 'succeeded' | 'failed' | 'cancelled';

/** `live.state`: on the way to the first or the next connection; everything shown is the server's; no connection, and none to be had right now; over for good. */
export type LiveState = 'connecting' | 'live' | 'offline' | 'ended';

/** How the feed is read, with `-fallback` where a better way did not work. */
export type Via = 'sse' | 'websocket' | 'poll' | 'sse-fallback' | 'websocket-fallback' | 'poll-fallback';

/** Why a session or a connection to it is over: `closed` by `live.close()`, `unauthenticated` where there is no living credential, else as the server says. */
export type EndReason = 'logout' | 'idle' | 'max_age' | 'merged' | 'operator' | 'limit' | 'unauthenticated' | 'closed' | (string & {});

export interface Progress {
    readonly current: number | null;
    readonly total: number | null;
    readonly unit: string | null;
    readonly message: string | null;
    /** current / total, at most 1; null when the total is not known. */
    readonly ratio: number | null;
    /** Units per second, of late. */
    readonly rate: number | null;
    /** Seconds to go. */
    readonly eta: number | null;
    readonly phase: string | null;
    /** Whatever the worker gave. */
    readonly data: unknown;
}

export interface InputRequest {
    readonly id: string;
    /** Text, not HTML. */
    readonly prompt: string;
    /** By custom a JSON Schema of the answer. */
    readonly schema: Record<string, unknown> | null;
}

export interface TaskFailure {
    /** As the worker named it, or `worker-lost`, `timeout`, `deadline`. */
    readonly type: string;
    readonly message: string;
    readonly detail: unknown;
}

export interface TaskFile {
    readonly name: string;
    readonly type: string;
    readonly bytes: number;
    readonly sha256: string;
    readonly from: 'session' | 'worker' | 'backend';
    readonly created_at: string;
}

/** A task as the server shows it. It never changes: a new state is a new object. */
export interface Task {
    readonly id: string;
    readonly session: string | null;
    readonly kind: string;
    readonly title: string | null;
    readonly state: TaskState;
    readonly version: number;
    readonly progress: Progress;
    readonly cancel_requested: boolean;
    readonly cancel_reason: string | null;
    /** More than half of its lease has passed without a word from the worker. */
    readonly stalled: boolean;
    readonly attempt: number;
    readonly max_attempts: number;
    readonly on_session_end: 'keep' | 'cancel' | 'handover';
    readonly queue: string | null;
    readonly created_at: string;
    readonly started_at: string | null;
    readonly updated_at: string;
    readonly ended_at: string | null;
    readonly seen_at: string | null;
    readonly expires_at: string | null;
    readonly output_bytes: number;
    /** The open question, while the state is `input_required`. */
    readonly input_request: InputRequest | null;
    /** Null also where it is larger than 16 KiB (see `result_bytes`); `TaskHandle.done` and `.result()` give it whole. */
    readonly result: unknown;
    readonly result_bytes: number;
    readonly error: TaskFailure | null;
    readonly metadata: Record<string, unknown>;
    readonly files?: readonly TaskFile[];
    readonly scope?: 'session' | 'user';
    readonly user?: string | null;
    readonly priority?: number;
    readonly unique?: string | null;
    readonly rerun_of?: string | null;
    readonly rerun_as?: string | null;
}

/** A task that did not succeed; `done` is rejected with it. */
export declare class TaskError extends Error {
    constructor(code: 'failed' | 'cancelled' | 'gone', task?: Task);
    readonly name: 'TaskError';
    /** `gone`: deleted, expired, moved away, never there, or the connection to the session is over. */
    readonly code: 'failed' | 'cancelled' | 'gone';
    /** As it was last seen; undefined where it never was. */
    readonly task?: Task;
}

/** What a call is rejected with when the server refuses it. */
export interface Refusal extends Error {
    /** The problem's code, such as `forbidden`, `task-ended`, `session-ended`, `quota-exceeded`. */
    readonly code: string;
    readonly status: number;
    /** The whole problem document (RFC 9457). */
    readonly problem: Record<string, unknown>;
}

/** One task. Every method may be called at any time, and is repeated while its answer is lost. What the server refuses rejects with a `Refusal`. */
export interface TaskHandle<Result = unknown> {
    readonly id: string;
    /** The task as it is now; undefined where it is not (or no longer) among the session's tasks. */
    readonly value: Task | undefined;
    /**
     * The result, once the task has succeeded, however large. Rejected with a `TaskError` when it failed, was cancelled, or is gone.
     * Nobody is told of an unhandled rejection who did not ask for it.
     */
    readonly done: Promise<Result>;
    /** Asks for cancellation: the task as it is then. Rejected with `task-ended` if it has ended. */
    cancel(reason?: string): Promise<Task>;
    /** Answers the open question: any JSON. Rejected with `invalid-transition` where nothing is asked, `question-mismatch` where that was answered otherwise. */
    answer(value: unknown): Promise<Task>;
    /** Says that a person has seen the task's end. Rejected with `invalid-transition` while it is unfinished. */
    seen(): Promise<Task>;
    /** The result, read from the server; while the task is unfinished as `done`. Rejected with `task-failed` or `task-cancelled`. */
    result(): Promise<Result>;
    /** The bytes that the worker wrote, from the first one kept; it reads on as they come, also after a lost connection, and closes after the last. */
    output(): ReadableStream<Uint8Array>;
    /** The task's files. */
    files(): Promise<readonly TaskFile[]>;
    /** An address at which anybody who has it can get that file for a while. */
    link(name: string): Promise<{ readonly url: string; readonly expires_at: string }>;
    /** Starts a task like this one, which must have ended, once. */
    rerun(): Promise<TaskHandle<Result>>;
}

export interface LiveEvents {
    /** Each change. before: the task as it was, undefined for a new one. */
    task: (task: Task, before: Task | undefined) => void;
    /** A task left the session. task: as it was last seen. */
    gone: (gone: { readonly id: string; readonly reason: 'moved' | 'deleted' | 'expired'; readonly task: Task }) => void;
    /** The ends: once for each task and tab, not for what had ended before the first `live`. */
    succeeded: (task: Task) => void;
    failed: (task: Task) => void;
    cancelled: (task: Task) => void;
    /** Once for each question, also for one that was open before. */
    input_required: (task: Task) => void;
    /** Only with the option `output`. task: its id. A jump in offset: what is between is no longer kept, or stands at `TaskHandle.output()`. */
    output: (output: { readonly task: string; readonly offset: number; readonly bytes: Uint8Array }) => void;
    state: (state: LiveState, reason: EndReason | null) => void;
    /** Everything is forgotten, and comes again. */
    reset: () => void;
    /** A connection that failed (another is tried), or what a listener has thrown. */
    error: (error: Error) => void;
}

/** The tasks of one session. `for await (const task of live)` gives each change, and ends when the state is `ended`. */
export interface Live extends AsyncIterable<Task> {
    readonly state: LiveState;
    /** Null until the state is `ended`. */
    readonly reason: EndReason | null;
    /** Null before the first connection of any tab. */
    readonly via: Via | null;
    /** What the feed says, oldest change first. */
    readonly tasks: ReadonlyMap<string, Task>;
    /** Resolved once everything has come that stood; rejected, with an Error whose `code` is the reason, if it ends before. */
    readonly ready: Promise<void>;
    /** Calls fn at each event of that name, until the function that it gives back is called. What fn throws goes to `error`. */
    on<Name extends keyof LiveEvents>(name: Name, fn: LiveEvents[Name]): () => void;
    /** A task of the session; there need be none of that id. */
    task<Result = unknown>(id: string): TaskHandle<Result>;
    /**
     * Starts a task of a kind that sessions may start (else `forbidden`). The same key means the same task, so that a double click makes one;
     * without a key each call makes one, also where its first answer is lost.
     */
    start<Result = unknown>(kind: string, options?: { title?: string; input?: unknown; key?: string }): Promise<TaskHandle<Result>>;
    /** Ends it for this tab: the state is `ended`, the reason `closed`. */
    close(): void;
}

export interface ConnectOptions {
    /** Where bowline is reached; by default the page's origin. Required where there is no page. */
    url?: string | URL;
    /** A session token or JWT, or a function that gives one; without it the cookie counts. */
    token?: string | (() => string | Promise<string>);
    /**
     * Called when the credential has died, once for all tabs: sets a new cookie, or gives (a promise of) a new token, a string; anything else it gives does not
     * matter. The same dead token, or an exception, ends it.
     * Without it a token that died ends it; a function `token` is asked again, and a cookie that was rotated is waited for.
     */
    refresh?: () => unknown;
    /** One connection for all tabs of this origin; by default in pages. */
    tabs?: boolean;
    /** Events `output` come too. */
    output?: boolean;
    /** As in `fetch`: `include` for a cookie of another origin. By default `same-origin`. */
    credentials?: RequestCredentials;
}

/** Follows the tasks of the session that the cookie or token belongs to, until `live.close()` or the session's end. Throws a TypeError where `url` is no URL. */
export declare function connect(options?: ConnectOptions): Live;
