package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// exitGrace bounds how long an error waits, when the channel has ended, for the news of
// how the process did.
const exitGrace = time.Second

// Worker is one incarnation of a worker: a channel that calls go over and, unless it was
// reached by Config.Dial, the process at its other end. All its methods may be called
// concurrently; calls, batches and streams take turns.
//
// Whoever holds a Worker must Stop it, even when it is broken or its process has exited.
type Worker struct {
	id    pool.WorkerID
	cfg   Config
	conn  *conn
	proc  *osProcess // nil if the channel came from Dial
	hello Hello

	memory *sharedMemory // nil if the process was offered none

	resident *resident   // set by Start; nil without a limit
	ready    time.Time   // set by Start: when hello was answered
	reported atomic.Bool // OnExit was told
	greeted  chan bool   // told by Start whether hello succeeded
	stopping atomic.Bool // Stop was called
	done     chan struct{}
}

// Start starts a worker and says hello. It blocks until the worker has answered, or until
// ctx ends; then, and after any other failure, it kills and reaps what it started and
// returns once that is gone, or after Config.KillGrace. On success the caller owns the
// worker and owes it a Stop.
//
// The error wraps ctx's cause; *ExitError if the process exited first; *VersionError;
// ErrProtocol if the answer made no sense; ErrFrameTooLarge; or what starting the process
// or Dial returned, or what is wrong with Config.Wrap.
func Start(ctx context.Context, cfg Config, id pool.WorkerID) (*Worker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	memory := cfg.shareMemory()
	channel, proc, err := cfg.open(ctx, id, memory)
	memory.closeFile()
	if err != nil {
		memory.unmap()
		return nil, err
	}
	channel, err = cfg.wrap(id, channel)
	w := &Worker{
		id:  id,
		cfg: cfg,
		conn: newConn(channel, connSetup{
			worker: id, limit: cfg.FrameLimit, cancelGrace: cfg.CancelGrace,
			sharedThreshold: cfg.SharedThreshold, hearing: hearing{id, &cfg},
		}),
		proc:    proc,
		memory:  memory,
		greeted: make(chan bool, 1),
		done:    make(chan struct{}),
	}
	go w.watch()
	if err == nil {
		err = w.greet(ctx)
	}
	w.ready = time.Now()
	if err == nil {
		err = w.watchResident()
	}
	if err != nil {
		w.greeted <- false
		w.conn.fail(err)
		if killErr := w.kill(); killErr != nil {
			err = errors.Join(err, killErr)
		}
		return nil, fmt.Errorf("process: hello of worker %d: %w", id, err)
	}
	w.greeted <- true
	return w, nil
}

// watchResident sees that the process is not used above Config.ResidentLimit.
func (w *Worker) watchResident() error {
	if w.cfg.ResidentLimit == 0 || w.proc == nil {
		return nil
	}
	file, err := w.proc.openCounts()
	if err != nil {
		return err
	}
	w.resident = &resident{worker: w.id, pid: w.PID(), limit: w.cfg.ResidentLimit, tell: w.reportResident, file: file}
	w.resident.begin()
	return nil
}

// greet does the handshake. Nothing else is sent before it.
func (w *Worker) greet(ctx context.Context) error {
	params := HelloParams{Protocol: ProtocolVersion, FrameLimit: w.cfg.FrameLimit}
	if w.memory != nil {
		params.SharedMemory = &SharedMemoryOffer{Descriptor: w.cfg.sharedDescriptor(), Bytes: w.memory.size}
	}
	err := w.Call(ctx, MethodHello, params, &w.hello)
	if err == nil {
		err = w.hello.check()
	}
	w.conn.peer = w.hello.peer(w.memory)
	if w.conn.peer.memory == nil {
		w.memory.unmap()
	}
	var exit *ExitError
	if err != nil && w.proc != nil && !errors.As(err, &exit) {
		err = fmt.Errorf("%w%s", err, lastWords(w.proc.output.tail()))
	}
	return err
}

// Call sends params to a method and decodes its result into result, which may be nil. It
// blocks until the reply is there, until ctx ends, or until the worker breaks. Calls take
// turns: one waits while another is under way. A params of json.RawMessage and a result
// of *json.RawMessage are copied as they are; both remain the caller's. A payload beside
// the result is dropped.
//
// ctx is one budget for the turn, the request and the reply. When it ends while the reply
// is outstanding, and the worker has announced that it can cancel the method, the worker
// has Config.CancelGrace more to end the call; then the error is ctx's cause alone.
//
// After an error that wraps ErrBroken, as a *BrokenError, the worker is unusable: ctx ended
// while the reply was outstanding (its cause is wrapped), the worker violated the protocol
// (ErrProtocol, with ErrFrameTooLarge if it announced such a frame), its process exited
// (*ExitError), or Stop was called (ErrStopped). After any other error it can go on:
// *RemoteError is the worker's own refusal; ctx ended before anything was sent, or the
// call was cancelled; the params could not be encoded, or not within the frame limit
// (ErrFrameTooLarge); or the result did not fit into result.
//
// If a function of the caller's panics or ends its goroutine amid a call, as to encode the
// params, the worker is unusable too.
func (w *Worker) Call(ctx context.Context, method string, params, result any) error {
	return w.Exchange(ctx, &Request{Method: method, Params: params}, &Reply{Result: result})
}

// Ping asks the worker for a sign of life and checks that it is still the incarnation
// that said hello. It blocks like Call. If ctx ends first, Ping returns its cause but the
// worker stays usable, since checks of healthy workers are cut short when callers need
// them: the late answer is dropped, and the next call waits for it before it is sent.
func (w *Worker) Ping(ctx context.Context) error {
	var pong Pong
	if err := w.conn.exchange(ctx, &Request{Method: MethodPing}, &Reply{Result: &pong}, abandon); err != nil {
		return w.explain(ctx, err)
	}
	if pong.Instance != w.hello.Instance {
		w.conn.fail(violation("instance %q answered the ping, want %q", pong.Instance, w.hello.Instance))
		return w.conn.failure()
	}
	return nil
}

// EndSession tells the worker that a session is over, if it announced that it wants to
// know; otherwise it does nothing. It blocks and fails like Call.
func (w *Worker) EndSession(ctx context.Context, session pool.SessionID) error {
	if !slices.Contains(w.hello.Methods, MethodSessionEnded) {
		return nil
	}
	return w.Call(ctx, MethodSessionEnded, SessionEndedParams{Session: string(session)}, nil)
}

// Usable reports whether the worker can serve another caller: it is not broken, owes no
// reply to a call, and has not been seen above Config.ResidentLimit. It does not block.
func (w *Worker) Usable() bool { return w.conn.usable() && w.resident.exceeded() == nil }

// ID returns the incarnation given to Start.
func (w *Worker) ID() pool.WorkerID { return w.id }

// PID returns the process's ID or, if the channel came from Dial, the one that the worker
// gave. Once Done is closed it may be another process's.
func (w *Worker) PID() int {
	if w.proc != nil {
		return w.proc.pid()
	}
	return w.hello.PID
}

// Instance returns the random token that this incarnation drew when it began.
func (w *Worker) Instance() string { return w.hello.Instance }

// Methods returns what the worker announced. The slice is the caller's.
func (w *Worker) Methods() []string { return slices.Clone(w.hello.Methods) }

// Features returns what the worker announced that it can do beyond plain calls. The slice
// is the caller's.
func (w *Worker) Features() []Feature { return slices.Clone(w.hello.Features) }

// Hold calls f with the process's ID, which is this process's for as long as f runs, even if
// it dies meanwhile: so f may look at /proc, or set the process's limits, and never meet
// another process that was given the number, unless a fork server made the process and dies
// just then. f must be quick, as the process is not reaped before it returns, and must call
// none of the worker's methods.
//
// Hold returns what f does; os.ErrProcessDone if the process is reaped; and
// errors.ErrUnsupported if the channel came from Dial. f is then not called.
func (w *Worker) Hold(f func(pid int) error) error {
	if w.proc == nil {
		return fmt.Errorf("process: worker %d has no process of ours: %w", w.id, errors.ErrUnsupported)
	}
	return w.proc.hold(f)
}

// Signal sends a signal to the process alone, not to its group, and never to another process
// that was given its number. It is for tests and chaos: to end a worker use Stop, or the pool
// it belongs to. It does not block. The error is os.ErrProcessDone if the process is reaped,
// errors.ErrUnsupported if the channel came from Dial, or the kernel's. Nil says that the
// signal was sent, not that it was heeded; to a process that is dead but not reaped it means
// nothing.
func (w *Worker) Signal(sig syscall.Signal) error {
	if w.proc == nil {
		return fmt.Errorf("process: worker %d has no process of ours: %w", w.id, errors.ErrUnsupported)
	}
	return w.proc.send(sig)
}

// Exit says how the process ended, or returns nil as long as it has not been reaped or if
// the channel came from Dial. It does not block.
func (w *Worker) Exit() *ExitError {
	if w.proc == nil {
		return nil
	}
	select {
	case <-w.proc.exited:
		return w.proc.exit
	default:
		return nil
	}
}

// Done returns a channel that is closed when nothing of the worker is left: its process
// is reaped and its group dead, its channel closed and its goroutines ended.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Stop ends the worker: it closes the channel and waits for Config.CloseGrace, sends
// SIGTERM to the process group and waits for Config.TermGrace, sends it SIGKILL and waits
// for Config.KillGrace. A worker that is not Usable, as it may be amid a call, gets
// SIGTERM at once; once ctx has ended, only SIGKILL is left. A running call fails with
// ErrStopped.
//
// Stop returns nil once the worker is gone and went in good order, or was gone before;
// *ExitError if it had to be killed or failed while it stopped; and another error if even
// SIGKILL did not end it in time: it is then still reaped as soon as it dies. Without a
// process Stop only closes the channel and waits for that, or for ctx. Stop may be called
// again, and concurrently.
func (w *Worker) Stop(ctx context.Context) error {
	usable := w.conn.usable()
	w.stopping.Store(true)
	w.conn.fail(ErrStopped)
	if w.proc == nil {
		select {
		case <-w.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case <-w.proc.exited:
		return w.kill()
	default:
	}
	if usable && w.awaitDone(ctx, w.cfg.CloseGrace) {
		return w.verdict()
	}
	if ctx.Err() == nil {
		w.proc.signal(syscall.SIGTERM)
		if w.awaitDone(ctx, w.cfg.TermGrace) {
			return w.verdict()
		}
	}
	if err := w.kill(); err != nil {
		return err
	}
	return w.verdict()
}

// kill ends the process at once and returns nil when nothing of the worker is left.
func (w *Worker) kill() error {
	if w.proc != nil {
		w.proc.signal(syscall.SIGKILL)
	}
	if !w.awaitDone(context.Background(), w.cfg.KillGrace) {
		return fmt.Errorf("process: worker %d, pid %d, not gone %v after being killed", w.id, w.PID(), w.cfg.KillGrace)
	}
	return nil
}

// awaitDone waits until nothing of the worker is left, and reports whether that is so.
func (w *Worker) awaitDone(ctx context.Context, grace time.Duration) bool {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-w.done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// verdict judges the exit of a process that Stop has ended.
func (w *Worker) verdict() error {
	if w.proc.exit.orderly() {
		return nil
	}
	return w.proc.exit
}

// watch sees to the worker's end, whatever brings it about.
func (w *Worker) watch() {
	var exited chan struct{}
	if w.proc != nil {
		exited = w.proc.exited
	}
	select {
	case <-w.conn.broken:
	case <-exited:
		w.conn.drain(drainGrace)
	}
	greeted := <-w.greeted
	if greeted && !w.stopping.Load() {
		go w.report(w.explain(context.Background(), w.conn.failure()))
	}
	if exited != nil {
		<-exited
	}
	<-w.conn.gone
	w.memory.unmap()
	if greeted {
		w.resident.close()
	}
	close(w.done)
}

// report tells Config's died and OnExit, if they were not told before, why the worker is of
// no more use.
func (w *Worker) report(cause error) {
	if !w.reported.CompareAndSwap(false, true) {
		return
	}
	if w.cfg.died != nil {
		w.cfg.died(w)
	}
	if w.cfg.OnExit != nil {
		contain(w.cfg.Logger, "OnExit", w.id, func() { w.cfg.OnExit(w.id, cause) })
	}
}

// reportResident tells of a ResidentError, unless the worker is being stopped.
func (w *Worker) reportResident(over error) {
	if !w.stopping.Load() {
		w.report(over)
	}
}

// explain replaces the end of the channel, as the cause in err, by the end of the process
// that brought it about, if that can be learnt soon.
func (w *Worker) explain(ctx context.Context, err error) error {
	if err == nil || w.proc == nil {
		return err
	}
	var ended *channelError
	if !errors.As(err, &ended) {
		return err
	}
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-w.proc.exited:
		return &BrokenError{Worker: w.id, Cause: w.proc.exit}
	case <-ctx.Done():
	case <-timer.C:
	}
	return err
}
