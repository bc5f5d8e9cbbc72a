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
// docs/protocol.md describes the wire. The worker's side of it is in package worker for
// Go and in python/poolproof_worker for Python.
//
// The rules that hold here:
//
//   - Nothing is sent to a worker before it has answered hello.
//   - One call is in flight per worker. A worker that owes a reply to a call which was
//     cancelled, that answered with a wrong id or that broke framing is never used
//     again, so a late reply reaches nobody. An error reply keeps the worker.
//   - A length is checked before memory is allocated for it, on both sides.
//   - A process gets the environment and the descriptors that it needs and no others,
//     but for descriptors that the host itself has inherited without close-on-exec.
//   - A process leads a group of its own. When it ends, the rest of the group is killed
//     before it is reaped; nothing is signalled after it is reaped, so no signal can
//     reach a process that is not proven ours. A descendant that leaves the group is
//     beyond reach.
//   - When the host dies, even by SIGKILL, the kernel kills each worker: the parent-death
//     signal is SIGKILL, and each worker is started by a thread that lives until the
//     worker is reaped. The worker's own children are not told; a worker that has any
//     should give them a parent-death signal too. The kernel forgets the signal when a
//     program with set-user-ID or capabilities is executed; end of file on the channel
//     then ends the worker.
//
// Each process costs the host one thread, which waits for its end, and four descriptors.
package process
