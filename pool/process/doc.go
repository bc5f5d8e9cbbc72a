// Package process runs workers as processes of the operating system and calls them over
// framed pipes. It fills the hooks of a pool.Pool:
//
//	command, err := python.Command(ctx, "-u", "worker.py")
//	...
//	p, err := process.NewPool(process.Config{Command: command}, pool.Config[*process.Worker]{
//		MaxSize: 4,
//	})
//	...
//	err = p.Do(ctx, "session-1", func(ctx context.Context, w *process.Worker) error {
//		return w.Call(ctx, "echo", []string{"hello"}, &answer)
//	})
//
// A Client does the same in one step, and repeats calls that are marked idempotent when a
// worker is lost. Besides Call a worker has Exchange for raw payloads and progress, Batch
// for many small calls, and Stream for results in pieces.
//
// docs/protocol.md describes the wire. The worker's side of it is in package worker for
// Go and in python/poolproof_worker for Python.
//
// The rules that hold here:
//
//   - Nothing is sent to a worker before it has answered hello.
//
//   - One call, batch or stream is in flight per worker. A worker that owes the reply to a
//     call which was given up, that answered with a wrong id or that broke framing is never
//     used again, so a late reply reaches nobody. A call that the worker can cancel is given
//     up only after a grace in which its reply is dropped. An error reply keeps the worker.
//
//   - No error means that the worker answered, and that nothing of the caller's memory is
//     in use any more, also after any error.
//
//   - A worker that is faster than its caller waits (a stream), or loses what it says in
//     passing (progress, notifications): it cannot make the host's memory grow.
//
//   - A length is checked before memory is allocated for it, on both sides.
//
//   - A process gets the environment and the descriptors that it needs and no others:
//     those that the host itself has inherited, or that a library opened carelessly, are
//     closed in it. To look for them costs half a microsecond or less for each number up
//     to the highest that the host has ever used. One that is opened during the start
//     without close-on-exec can slip through.
//
//   - A process leads a group of its own. When it ends, the rest of the group is killed
//     before it is reaped. Signals go through a pidfd or, to a group before Linux 6.9, to
//     a number that cannot be given away because its process is not reaped; so none
//     reaches a process that is not proven ours. A descendant that leaves the group is
//     beyond reach.
//
//   - A process can be bounded in memory, descriptors and priority: see Config. A limit
//     that cannot be set fails the start, with a *LaunchError.
//
//   - When the host dies, even by SIGKILL, the kernel kills each worker: the parent-death
//     signal is SIGKILL, and each worker is started by a thread that is kept until the
//     worker is reaped. The worker's own children are not told; a worker that has any
//     should give them a parent-death signal too. The kernel forgets the signal when a
//     program with set-user-ID or capabilities is executed; end of file on the channel
//     then ends the worker.
//
// Each process costs the host one thread, which waits for its end, four descriptors, and as
// much shared memory as its payloads have needed, at most Config.SharedMemory.
package process
