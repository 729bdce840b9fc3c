/* vramgate_plugin.h: the gate inside another process. One exported symbol gives a table of functions; the library
 * behind it (libvramgate_plugin.so) speaks to the sidecar over its plugin socket and brings no gRPC, Protobuf or C++
 * into the host. C11 and C++17. Used by model servers' plugins (Triton's backend is one); docs/plugins.md has the whole
 * story.
 *
 *   const vg_api* vg = vramgate_get_api(VG_ABI_MAJOR, VG_ABI_MINOR);
 *   vg_client_options options = VG_CLIENT_OPTIONS_INIT;
 *   options.target = vg_string("unix:/run/vramgate/plugin.sock");
 *   vg_client* client = NULL;
 *   vg_code code = vg->client_create(&options, &client);
 *   vg_admit_args args = VG_ADMIT_ARGS_INIT;
 *   args.model = vg_string("llama-3.1-8b"), args.prompt_tokens = 1000, args.max_output_tokens = 500;
 *   vg_decision decision = VG_DECISION_INIT;
 *   vg_lease lease = 0;
 *   code = vg->try_admit(client, &args, 50000000, &decision, &lease);    VG_OK: generate now, on decision.instance
 *   vg->release(client, lease, NULL);
 *   vg->client_destroy(client);
 *
 * Threads: every function from any thread, and from callbacks but where it says not. Each client has one thread of its
 * own; all callbacks of a client run on it, one after the other, never inside a call of yours, and must not block.
 * Lifetimes: strings and structs that are passed in are read during the call. A vg_decision that a callback gets is
 * valid until it returns. `user` of an admit_async that returned VG_OK is used until on_ended has returned, and not
 * after. Leases are ids with a generation, never pointers: a late or second call on one is harmless. Processes: a
 * client belongs to the process that made it. In a fork's child every call on it does nothing and says
 * VG_FAILED_PRECONDITION: make another one there. SIGPIPE is never raised, no signal is handled, no exception leaves.
 * Versions: `struct_size` comes first in every struct and says how much of it the caller, or the library, knows. Fields
 * and functions are only ever appended (minor); anything else is another major, which vramgate_get_api refuses. */
#ifndef VRAMGATE_PLUGIN_H_
#define VRAMGATE_PLUGIN_H_
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VG_EXPORT __attribute__((visibility("default")))
#define VG_ABI_MAJOR 1u
#define VG_ABI_MINOR 0u
/* Whether a struct reaches up to and including `field`: of a vg_api, whether the library is new enough to have it. */
#define VG_HAS(ptr, type, field) ((ptr)->struct_size >= offsetof(type, field) + sizeof(((type*)NULL)->field))

typedef enum vg_code {                  /* the canonical codes of gRPC, and one of our own */
                       VG_PENDING = -1, /* poll: still waiting */
                       VG_OK = 0,
                       VG_CANCELLED = 1,
                       VG_UNKNOWN = 2,
                       VG_INVALID_ARGUMENT = 3,
                       VG_DEADLINE_EXCEEDED = 4,
                       VG_NOT_FOUND = 5,
                       VG_ALREADY_EXISTS = 6,
                       VG_PERMISSION_DENIED = 7,
                       VG_RESOURCE_EXHAUSTED = 8,  /* may fit later: retry_after_ns */
                       VG_FAILED_PRECONDITION = 9, /* never fits; or this client cannot be used here */
                       VG_ABORTED = 10,
                       VG_OUT_OF_RANGE = 11,
                       VG_UNIMPLEMENTED = 12,
                       VG_INTERNAL = 13,
                       VG_UNAVAILABLE = 14, /* the gate is away, or draining */
                       VG_DATA_LOSS = 15,
                       VG_UNAUTHENTICATED = 16
} vg_code;

typedef struct vg_str { /* UTF-8, not NUL-terminated */
  const char* data;
  size_t size;
} vg_str;

static inline vg_str vg_string(const char* text) {
  vg_str out;
  out.data = text;
  out.size = text == NULL ? 0 : strlen(text);
  return out;
}

typedef struct vg_client vg_client;
typedef uint64_t vg_lease; /* 0: none */

/* What a client does with requests while the sidecar cannot be reached. */
enum {
  VG_FAIL_CLOSED = 0, /* refuse: VG_UNAVAILABLE, reason GATE_AWAY */
  VG_FAIL_OPEN = 1,   /* grant without an account: decision.flags has VG_FLAG_AWAY */
  VG_LOCAL_SHARE = 2  /* grant as long as all that is granted so stays within local_share_bytes; refuse beyond */
};

typedef struct vg_client_options {
  size_t struct_size;
  vg_str target;             /* "unix:/run/vramgate/plugin.sock" */
  int32_t when_away;         /* VG_FAIL_CLOSED, VG_FAIL_OPEN, VG_LOCAL_SHARE */
  uint32_t max_leases;       /* of this client at once, waiting ones included; 0: 65536; at most 1048576 */
  int64_t local_share_bytes; /* VG_LOCAL_SHARE: for this client, all devices together */
  int64_t away_after_ns; /* without a connection for so long, it is away; until then requests wait. -1: one second */
  void (*log)(void* user, int32_t level, const char* message, size_t size); /* optional; 0 info, 1 warning, 2 error. The
                                client's thread, but for what client_create says */
  void* log_user;
} vg_client_options;
#define VG_CLIENT_OPTIONS_INIT {sizeof(vg_client_options), {NULL, 0}, VG_FAIL_CLOSED, 0, 0, -1, NULL, NULL}

typedef struct vg_admit_args {
  size_t struct_size;
  vg_str request_id; /* empty: the client makes one. The same id within a tenant is the same request */
  vg_str model;
  vg_str tenant;
  vg_str instance; /* empty: the gate chooses */
  int32_t priority;
  int32_t sequences;         /* n, best_of, beam width */
  int64_t prompt_tokens;     /* -1: unknown; then prompt_bytes is needed */
  int64_t max_output_tokens; /* -1: unknown, the model's default */
  int64_t prompt_bytes;      /* -1: unknown */
  int64_t cached_tokens;     /* -1: unknown; of the prompt, in the engine's prefix cache: lowers the price */
  int64_t vram_bytes;        /* -1: the gate's estimate */
  int64_t max_wait_ns;       /* -1: the sidecar's queue.max_wait; 0: never queue. try_admit: always 0 */
  int32_t revocable;         /* not 0: on_revoked is acted upon, so that the gate may give more */
} vg_admit_args;
#define VG_ADMIT_ARGS_INIT \
  {sizeof(vg_admit_args), {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, 0, 1, -1, -1, -1, -1, -1, -1, 0}

enum {
  VG_FLAG_AWAY = 1,   /* granted by when_away, not by the gate */
  VG_FLAG_REVOKED = 2 /* poll: the gate wants it to stop */
};

/* An answer. Text is NUL-terminated UTF-8, cut to its room. */
typedef struct vg_decision {
  size_t struct_size;
  int32_t code;              /* a vg_code. VG_OK: granted */
  uint32_t flags;            /* VG_FLAG_... */
  int64_t vram_bytes;        /* granted, all devices together */
  int64_t granted_tokens;    /* of output, of each sequence: what is covered by now; 0: all */
  int64_t retry_after_ns;    /* -1: none */
  int64_t estimated_wait_ns; /* on_queued, and poll; -1: not known */
  int64_t grace_ns;          /* on_revoked: time to stop; -1: none */
  int32_t queue_position;    /* on_queued, and poll; 1: next of its tenant */
  int32_t ahead_total;
  char lease_name[40]; /* "leases/<id>": what an engine's step reports call it */
  char instance[128];
  char reason[64]; /* as ErrorInfo.reason: docs/reference.md; and GATE_AWAY, LOCAL_SHARE, LEASE_LOST */
  char message[320];
} vg_decision;
#define VG_DECISION_INIT {sizeof(vg_decision), 0, 0, 0, 0, -1, -1, -1, 0, 0, {0}, {0}, {0}, {0}}

typedef struct vg_callbacks { /* each optional */
  size_t struct_size;
  void* user;
  /* Exactly once for each admit_async that returned VG_OK; also VG_CANCELLED after a cancel, release or client_destroy.
   */
  void (*on_decision)(void* user, vg_lease lease, const vg_decision* decision);
  /* Before on_decision, as the place in the queue changes, at most about once a second. */
  void (*on_queued)(void* user, vg_lease lease, const vg_decision* decision);
  /* After a grant: the gate wants the request stopped within grace_ns. Stop, then revoke_ack or release. With reason
   * LEASE_LOST the gate has no room for it any more after a restart: stop if you can. */
  void (*on_revoked)(void* user, vg_lease lease, const vg_decision* decision);
  /* After a grant: granted_tokens, after an extend. */
  void (*on_extended)(void* user, vg_lease lease, const vg_decision* decision);
  /* Exactly once, last of all: after a refusal, a release, a cancel, or when the gate has ended the lease. */
  void (*on_ended)(void* user, vg_lease lease);
} vg_callbacks;
#define VG_CALLBACKS_INIT {sizeof(vg_callbacks), NULL, NULL, NULL, NULL, NULL, NULL}

enum { /* how a request came out */
       VG_COMPLETED = 1,
       VG_CLIENT_GONE = 2, /* the engine may go on for a moment: lingers */
       VG_BACKEND_ERROR = 3,
       VG_BACKEND_OUT_OF_MEMORY = 4
};

typedef struct vg_usage { /* of the whole request, so far */
  size_t struct_size;
  int64_t prompt_tokens; /* -1: not known */
  int64_t output_tokens;
  int32_t outcome; /* release only; 0: VG_COMPLETED */
} vg_usage;
#define VG_USAGE_INIT {sizeof(vg_usage), -1, -1, 0}

typedef struct vg_progress { /* never grows */
  vg_str lease;              /* its name: "leases/<id>" */
  int64_t output_tokens;     /* of each sequence so far; -1: not known */
} vg_progress;

typedef struct vg_step_report {
  size_t struct_size;
  vg_str model;
  vg_str instance;
  int64_t steps; /* since the last report; 0: the engine is idle */
  const vg_progress* ended;
  size_t ended_count;
  const vg_progress* emitted;
  size_t emitted_count;
} vg_step_report;
#define VG_STEP_REPORT_INIT {sizeof(vg_step_report), {NULL, 0}, {NULL, 0}, 0, NULL, 0, NULL, 0}

typedef struct vg_step_answer {
  size_t struct_size;
  int32_t code;       /* VG_OK, or why the report was not taken: no lists then */
  const vg_str* stop; /* leases that were asked to stop and have not ended: all of them, each time */
  size_t stop_count;
  const vg_str* lost; /* unknown, gone, or of another instance */
  size_t lost_count;
  vg_str message;
} vg_step_answer;

typedef struct vg_client_state {
  size_t struct_size;
  int32_t connected;
  int32_t away; /* when_away is in force */
  int64_t waiting;
  int64_t held;
  int64_t held_away;   /* of them, not known to the gate */
  int64_t local_bytes; /* of them, charged to local_share_bytes */
  int64_t connects;    /* connections made so far */
} vg_client_state;

typedef struct vg_api {
  size_t struct_size;
  uint32_t abi_major, abi_minor;
  /* VG_INVALID_ARGUMENT: an option is wrong, and log says which. An absent sidecar is no error: it is away. */
  vg_code (*client_create)(const vg_client_options* options, vg_client** out);
  /* Cancels what waits, ends what is held as VG_CLIENT_GONE, makes the callbacks that are owed, and joins the thread.
   * No call on the client may be under way or follow. VG_FAILED_PRECONDITION, and nothing is done: called from one of
   * its callbacks. */
  vg_code (*client_destroy)(vg_client* client);
  /* Never blocks. VG_OK: the answer comes by on_decision, or by poll where `callbacks` is null. VG_RESOURCE_EXHAUSTED:
   * max_leases are in use. VG_INVALID_ARGUMENT: a text is too long, or no model is named. Then no callback comes, and
   * *out is 0. */
  vg_code (*admit_async)(vg_client* client, const vg_admit_args* args, const vg_callbacks* callbacks, vg_lease* out);
  /* Never queues; waits at most timeout_ns for the gate's answer. VG_DEADLINE_EXCEEDED: none came; one that comes later
   * is given back. The lease has no callbacks: poll tells of a revocation. Not from callbacks: VG_FAILED_PRECONDITION.
   */
  vg_code (*try_admit)(vg_client* client, const vg_admit_args* args, int64_t timeout_ns, vg_decision* decision,
                       vg_lease* out);
  /* VG_PENDING, VG_OK (held), or how it ended; the last is told once. VG_NOT_FOUND: no such lease any more. Never
   * blocks. */
  vg_code (*poll)(vg_client* client, vg_lease lease, vg_decision* decision);
  /* Asks to hear (on_extended, or poll's granted_tokens) when `tokens` more of each sequence's output are covered. */
  vg_code (*extend)(vg_client* client, vg_lease lease, int64_t tokens);
  /* Progress: the newest counts, and is sent at most ten times a second. */
  vg_code (*report)(vg_client* client, vg_lease lease, const vg_usage* usage);
  /* The request is over; `usage` may be null. A waiting lease is cancelled. Idempotent. */
  void (*release)(vg_client* client, vg_lease lease, const vg_usage* usage);
  /* The caller has left: a waiting lease leaves the queue, a held one ends as VG_CLIENT_GONE. Idempotent. */
  void (*cancel)(vg_client* client, vg_lease lease);
  /* After on_revoked: the engine has stopped, its memory may be given to others. The lease ends. */
  void (*revoke_ack)(vg_client* client, vg_lease lease);
  /* An engine's steps. Never blocks; VG_UNAVAILABLE: no connection, the report is dropped. on_answer: optional, exactly
   * once for each VG_OK, on the client's thread. */
  vg_code (*report_steps)(vg_client* client, const vg_step_report* report,
                          void (*on_answer)(void* user, const vg_step_answer* answer), void* user);
  /* A model's fixed bytes, before an engine loads it and after it has unloaded it. Wait at most timeout_ns.
   * VG_RESOURCE_EXHAUSTED: do not load it. While away: VG_OK with VG_FLAG_AWAY under VG_FAIL_OPEN, else VG_UNAVAILABLE.
   * Not from callbacks. */
  vg_code (*load_model)(vg_client* client, vg_str model, vg_str instance, int64_t timeout_ns, vg_decision* decision);
  vg_code (*unload_model)(vg_client* client, vg_str model, vg_str instance, int64_t timeout_ns, vg_decision* decision);
  vg_code (*client_state)(vg_client* client, vg_client_state* state);
  const char* (*code_name)(int32_t code); /* "RESOURCE_EXHAUSTED"; never null */
} vg_api;

/* The only exported symbol. Null: this library has no such major, or is older than want_minor. Valid until dlclose. */
VG_EXPORT const vg_api* vramgate_get_api(uint32_t want_major, uint32_t want_minor);

#ifdef __cplusplus
}
#endif
#endif
