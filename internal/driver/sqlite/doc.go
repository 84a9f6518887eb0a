// Package sqlite keeps the cloud's state in one SQLite database: identities and
// twins, cloud-to-device queues, the queues to back ends, the directory of hubs,
// and the subscriptions of MQTT sessions.
//
// It knows SQL and nothing of the rules: what may be changed, and to what, is
// decided by the services whose stores it implements. Keys arrive sealed and
// stay opaque text.
//
// # Writing
//
// One goroutine owns the only writing connection. It takes every change that
// waits, runs them in one transaction and answers all after one commit with
// synchronous=FULL, so that the cost of stable storage is shared:
//
//	callers ──change──▶ queue ──▶ BEGIN │ change … change │ COMMIT ──▶ answers
//
// Changes of one group do not see each other fail: on the hot paths a change is
// one conditional statement (UPDATE … WHERE version = ?), which does nothing
// when its condition does not hold; a change of several statements that may
// fail half way runs under a savepoint. Only an error of the storage itself
// (disk full, I/O) ends a whole group: then nothing of it is kept and every
// caller is told so. The next group tries again, so writing goes on by itself
// when space returns.
//
// A caller whose context ends while it waits gets the context's error; its
// change may still be committed.
//
// # Reading
//
// A few read-only connections, opened when first needed, each with its own
// snapshot: readers never wait for the writer.
package sqlite
