package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// packetBytes bounds a packet from a fork server.
const packetBytes = 64 << 10

// packet is a message between a host and a fork server; one member is set.
type packet struct {
	Ready  *readyNews  `json:"ready,omitempty"`
	Fork   *keyOnly    `json:"fork,omitempty"`
	Forked *forkedNews `json:"forked,omitempty"`
	Failed *failedNews `json:"failed,omitempty"`
	Reap   *keyOnly    `json:"reap,omitempty"`
	Reaped *reapedNews `json:"reaped,omitempty"`
}

type (
	keyOnly struct {
		Key uint64 `json:"key"`
	}
	readyNews struct {
		Protocol int `json:"protocol"`
		PID      int `json:"pid"`
	}
	forkedNews struct {
		Key uint64 `json:"key"`
		PID int    `json:"pid"`
	}
	failedNews struct {
		Key     uint64 `json:"key"`
		Message string `json:"message"`
	}
	reapedNews struct {
		Key    uint64 `json:"key"`
		Status uint32 `json:"status"` // as wait(2) gives it
	}
)

// fork asks the server for a process with the files, and has it followed to its end. The
// channel is told once when p is there, or why it will never be; then its output is closed.
func (r *forkRun) fork(p *osProcess, files []*os.File) <-chan error {
	done := make(chan error, 1)
	q := r.newQuestion(false)
	r.mu.Lock()
	r.key++
	key := r.key
	if err := r.askLocked(key, q); err != nil {
		r.mu.Unlock()
		p.output.source.Close()
		done <- err
		return done
	}
	r.tasks.Go(func() { // the reader is a task as well, and has not ended
		a := <-q.answer
		if a.err != nil {
			p.output.source.Close()
			done <- a.err
			return
		}
		p.handle = a.handle
		r.follow(p, key, done)
	})
	r.mu.Unlock()
	if err := r.send(&packet{Fork: &keyOnly{key}}, files); err != nil {
		r.settle(key, answer{err: err})
	}
	return done
}

// follow tells done that a process is there, waits for its end, kills what is left of its
// group, and has it reaped.
func (r *forkRun) follow(p *osProcess, key uint64, done chan<- error) {
	go p.output.copy(p.pid())
	r.mu.Lock()
	r.workers[p] = struct{}{}
	ended := r.err != nil
	r.mu.Unlock()
	if ended {
		p.orphan()
	}
	done <- nil
	p.oomBefore = oomKills()
	if err := p.handle.awaitDeath(); err != nil {
		r.fail(err)
	}
	p.mu.Lock()
	p.handle.signal(syscall.SIGKILL, !p.reaped)
	p.reaped = true
	p.mu.Unlock()

	exit := &ExitError{ID: p.id, PID: p.pid()}
	status, err := r.reap(key)
	if err == nil {
		exit.classify(status, p.evidence())
	} else {
		exit.Kind, exit.Server = ExitForkServer, err
	}
	r.mu.Lock()
	delete(r.workers, p)
	r.mu.Unlock()
	p.mu.Lock()
	p.handle.close()
	p.mu.Unlock()
	p.end(exit)
}

// reap has the server take the status of a process that is dead.
func (r *forkRun) reap(key uint64) (syscall.WaitStatus, error) {
	q := r.newQuestion(true)
	r.mu.Lock()
	err := r.askLocked(key, q)
	r.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if err := r.send(&packet{Reap: &keyOnly{key}}, nil); err != nil {
		r.fail(err)
	}
	a := <-q.answer
	return a.status, a.err
}

func (r *forkRun) newQuestion(reap bool) *question {
	return &question{reap: reap, answer: make(chan answer, 1), timeout: time.AfterFunc(r.cfg.AnswerTimeout, func() {
		r.fail(fmt.Errorf("process: fork server, pid %d, did not answer within %v", r.proc.pid(), r.cfg.AnswerTimeout))
	})}
}

// askLocked notes that the server will owe the answer to q, which then comes in any case,
// or returns why there will be none.
func (r *forkRun) askLocked(key uint64, q *question) error {
	if r.err != nil {
		q.timeout.Stop()
		return r.err
	}
	r.asked[key] = q
	return nil
}

// settle answers a question that may have been answered since.
func (r *forkRun) settle(key uint64, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.asked[key]; q != nil {
		r.settleLocked(key, q, a)
	}
}

// send writes a packet, whole or not at all. That the server has ended is no error here: the
// reader notices it and can explain it.
func (r *forkRun) send(request *packet, files []*os.File) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	_ = r.socket.SetWriteDeadline(time.Now().Add(r.cfg.AnswerTimeout))
	_, _, err = r.socket.WriteMsgUnix(body, rights, nil)
	runtime.KeepAlive(files)
	if err == nil || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("process: request to the fork server: %w", err)
}

// read takes packets until the server has ended.
func (r *forkRun) read() {
	body, control := make([]byte, packetBytes), make([]byte, unix.CmsgSpace(8*4))
	for {
		n, controlled, flags, _, err := r.socket.ReadMsgUnix(body, control)
		if err != nil {
			r.fail(r.explain(err))
			return
		}
		fds, err := receivedFiles(control[:controlled])
		if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			err = fmt.Errorf("%w: fork server sent a packet of more than %d bytes, or too many descriptors", ErrProtocol, packetBytes)
		}
		if err == nil {
			err = r.take(body[:n], &fds)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		if err != nil {
			r.fail(err)
			return
		}
	}
}

// receivedFiles returns the descriptors that came with a packet, all of them the caller's
// even if there is an error.
func receivedFiles(control []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	for i := range messages {
		received, rightsErr := unix.ParseUnixRights(&messages[i])
		fds = append(fds, received...)
		err = errors.Join(err, rightsErr)
	}
	return fds, err
}

// explain replaces the end of the socket by the end of the process, which comes with it.
func (r *forkRun) explain(err error) error {
	grace := exitGrace
	r.mu.Lock()
	if r.closing {
		grace = r.cfg.CloseGrace + r.cfg.TermGrace + r.cfg.KillGrace
	}
	r.mu.Unlock()
	if awaitClosed(r.proc.exited, grace) {
		return r.proc.exit
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: fork server, pid %d, closed its socket and lives on", ErrProtocol, r.proc.pid())
	}
	return err
}

// take acts on a packet. It takes those of the descriptors that it needs out of fds.
func (r *forkRun) take(body []byte, fds *[]int) error {
	var p packet
	if err := json.Unmarshal(body, &p); err != nil {
		return fmt.Errorf("%w: malformed packet of the fork server: %w", ErrProtocol, err)
	}
	switch {
	case p.Ready != nil:
		return r.becomeReady(p.Ready)
	case p.Forked != nil:
		if len(*fds) != 1 {
			return fmt.Errorf("%w: fork server sent %d descriptors with a new process, want 1", ErrProtocol, len(*fds))
		}
		h, err := newHandle(p.Forked.PID, (*fds)[0])
		*fds = nil
		if err == nil {
			err = h.verify()
		}
		if err == nil {
			err = r.answer(p.Forked.Key, false, answer{handle: h})
		}
		if err != nil && h != nil {
			h.close()
		}
		return err
	case p.Failed != nil:
		return r.answer(p.Failed.Key, false, answer{err: fmt.Errorf("fork server: %.300q", p.Failed.Message)})
	case p.Reaped != nil:
		return r.answer(p.Reaped.Key, true, answer{status: syscall.WaitStatus(p.Reaped.Status)})
	}
	return fmt.Errorf("%w: unknown packet of the fork server: %.100q", ErrProtocol, body)
}

func (r *forkRun) becomeReady(news *readyNews) error {
	select {
	case <-r.ready:
		return fmt.Errorf("%w: fork server was ready twice", ErrProtocol)
	default:
	}
	if news.Protocol != ProtocolVersion {
		return &VersionError{Got: news.Protocol, Want: ProtocolVersion}
	}
	close(r.ready)
	return nil
}

// answer settles a question.
func (r *forkRun) answer(key uint64, reap bool, a answer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.asked[key]
	if q == nil || q.reap != reap {
		return fmt.Errorf("%w: fork server answered about key %d, which it was not asked", ErrProtocol, key)
	}
	r.settleLocked(key, q, a)
	return nil
}
