package process

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool"
)

// forkRun is one incarnation of a fork server:
//
//	launching ──▶ loading ── ready ──▶ serving
//	any of them ── exit, violation, no answer in time, Close ──▶ ended
//
// Nothing leaves ended; the next worker that is wanted gets another incarnation.
type forkRun struct {
	cfg      ForkConfig
	launched chan struct{} // closed once proc and socket are set, or never will be
	ready    chan struct{} // closed by the reader
	ended    chan struct{} // closed when err is set
	tasks    sync.WaitGroup

	proc   *osProcess    // nil if it could not be launched
	socket *net.UnixConn // likewise

	writing sync.Mutex // held while a packet is written

	mu      sync.Mutex
	closing bool                    // guarded by mu: Close was called
	err     error                   // guarded by mu: why it ended
	key     uint64                  // guarded by mu: of the last worker
	asked   map[uint64]*question    // guarded by mu: what the server owes an answer to
	workers map[*osProcess]struct{} // guarded by mu: those not gone
}

// question is a request to the server that has no answer yet.
type question struct {
	reap    bool // else fork
	timeout *time.Timer
	answer  chan answer // takes one without blocking
}

// answer is what came of a question; err is set if the server ended or could not do it.
type answer struct {
	handle *handle // of a fork
	status syscall.WaitStatus
	err    error
}

// launch has the server fork for a worker, which also gets the inherited files, starting
// the server if need be. It blocks
// until that is done or ctx ends. On success the caller owns the channel and owes an end
// to the process; on failure nothing is left, or only as long as the server takes to say
// so. The error wraps ctx's cause or is a *LaunchError.
func (s *ForkServer) launch(ctx context.Context, cfg *Config, id pool.WorkerID, inherited ...*os.File) (io.ReadWriteCloser, *osProcess, error) {
	failed := func(err error) error { return &LaunchError{ID: id, Command: s.cfg.Command[0], Err: err} }
	run, err := s.serving(ctx)
	if err != nil {
		return nil, nil, failed(err)
	}
	pipes, err := newPlumbing(id)
	if err != nil {
		return nil, nil, failed(err)
	}
	p := newProcess(id, pipes.output.host, cfg.Logger, cfg.LogRate)
	given := append([]*os.File{pipes.requests.child, pipes.replies.child, pipes.output.child}, inherited...)
	done := run.fork(p, given)
	pipes.closeChild()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
		disowned(p, done, cfg.KillGrace)
	}
	if err != nil {
		closeAll(pipes.requests.host, pipes.replies.host)
		return nil, nil, failed(err)
	}
	return pipes.channel(), p, nil
}

// disowned kills a process that is still to be forked, and waits for its end, but not
// longer than grace.
func disowned(p *osProcess, done <-chan error, grace time.Duration) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if <-done == nil {
			p.signal(syscall.SIGKILL)
			<-p.exited
		}
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
	}
}

// serving returns an incarnation that is ready. The start of one belongs to nobody: it
// goes on when ctx ends.
func (s *ForkServer) serving(ctx context.Context) (*forkRun, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrForkServerClosed
	}
	if s.run == nil || s.run.failure() != nil {
		s.run = newForkRun(s.cfg)
	}
	run := s.run
	s.mu.Unlock()
	select {
	case <-run.ready:
		return run, nil
	case <-run.ended:
		return nil, run.failure()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// shutdown is the body of Close.
func (s *ForkServer) shutdown() error {
	s.mu.Lock()
	s.closed = true
	run := s.run
	s.mu.Unlock()
	if run == nil {
		return nil
	}
	return run.close()
}

// newForkRun begins to start a server.
func newForkRun(cfg ForkConfig) *forkRun {
	r := &forkRun{
		cfg:      cfg,
		launched: make(chan struct{}),
		ready:    make(chan struct{}),
		ended:    make(chan struct{}),
		asked:    make(map[uint64]*question),
		workers:  make(map[*osProcess]struct{}),
	}
	r.tasks.Go(r.begin)
	return r
}

// begin launches the server and sees that it becomes ready in time.
func (r *forkRun) begin() {
	err := r.launch()
	close(r.launched)
	if err != nil {
		r.fail(err)
		return
	}
	r.tasks.Go(r.read)
	timer := time.NewTimer(r.cfg.StartTimeout)
	defer timer.Stop()
	select {
	case <-r.ready:
	case <-r.ended:
	case <-timer.C:
		r.fail(fmt.Errorf("process: fork server, pid %d, not ready after %v%s",
			r.proc.pid(), r.cfg.StartTimeout, lastWords(r.proc.output.tail())))
	}
}

// launch starts the server's process. On failure nothing is left.
func (r *forkRun) launch() (err error) {
	prog := r.cfg.program()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return prog.failed(0, os.NewSyscallError("socketpair", err))
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "fork server"), os.NewFile(uintptr(fds[1]), "fork server")
	defer closeAll(ours, theirs)
	conn, err := net.FileConn(ours)
	if err != nil {
		return prog.failed(0, err)
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return prog.failed(0, fmt.Errorf("a socket pair made a %T", conn))
	}
	printed, err := newPipe(false, whose(0))
	if err != nil {
		socket.Close()
		return prog.failed(0, err)
	}
	defer printed.child.Close()
	files := []*os.File{nil, printed.child, printed.child, theirs}
	proc := newProcess(0, printed.host, r.cfg.Logger, DefaultLogRate)
	if err := proc.start(&prog, ForkServerVariable+"=3", files); err != nil {
		closeAll(printed.host)
		socket.Close()
		return err
	}
	r.proc, r.socket = proc, socket
	return nil
}

// close ends the incarnation and waits until nothing of it is left.
func (r *forkRun) close() error {
	<-r.launched
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	if r.proc == nil {
		r.tasks.Wait()
		return nil
	}
	r.socket.CloseWrite()
	if !awaitClosed(r.proc.exited, r.cfg.CloseGrace) {
		r.proc.signal(syscall.SIGTERM)
		awaitClosed(r.proc.exited, r.cfg.TermGrace)
	}
	r.proc.signal(syscall.SIGKILL)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		<-r.proc.exited
		r.tasks.Wait()
	}()
	if !awaitClosed(gone, r.cfg.KillGrace) {
		return fmt.Errorf("process: fork server, pid %d, or a worker of it, not gone %v after being killed", r.proc.pid(), r.cfg.KillGrace)
	}
	if exit := r.proc.exit; !exit.orderly() {
		return exit
	}
	return nil
}

// awaitClosed waits for done, but not longer than grace, and reports whether it is closed.
func awaitClosed(done <-chan struct{}, grace time.Duration) bool {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// fail ends the incarnation because of cause. Only the first call counts. What the server
// owes is answered with the cause. Its workers die when it does, by their parent-death
// signal; they are killed all the same, as are their groups.
func (r *forkRun) fail(cause error) {
	r.mu.Lock()
	if r.err != nil {
		r.mu.Unlock()
		return
	}
	if r.closing {
		cause = fmt.Errorf("%w: %w", ErrForkServerClosed, cause)
	}
	r.err = cause
	close(r.ended)
	for key, q := range r.asked {
		r.settleLocked(key, q, answer{err: cause})
	}
	workers := make([]*osProcess, 0, len(r.workers))
	for p := range r.workers {
		workers = append(workers, p)
	}
	r.mu.Unlock()
	if r.proc != nil {
		r.socket.Close()
		r.proc.signal(syscall.SIGKILL)
	}
	for _, p := range workers {
		p.orphan()
	}
}

func (r *forkRun) settleLocked(key uint64, q *question, a answer) {
	delete(r.asked, key)
	q.timeout.Stop()
	q.answer <- a
}

func (r *forkRun) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *forkRun) pid() int {
	select {
	case <-r.launched:
	default:
		return 0
	}
	if r.proc == nil || r.failure() != nil {
		return 0
	}
	return r.proc.pid()
}
