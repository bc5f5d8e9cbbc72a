package process

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool"
)

// drainGrace bounds how long an ended process's pipes are read, in case a process that
// left its group holds them open.
const drainGrace = 200 * time.Millisecond

// osProcess is a process that leads a group of its own.
type osProcess struct {
	id        pool.WorkerID
	output    output
	oomBefore int64   // set by follow, which does not hold up the start
	handle    *handle // set by the time that it is launched, constant afterwards

	exited chan struct{} // closed after exit is set
	exit   *ExitError    // set once reaped, with the group dead and the output read

	mu     sync.Mutex
	reaped bool // guarded by mu: it may be, so the number may be another's
	killed bool // guarded by mu: we sent SIGKILL
}

// newProcess returns a process that has yet to be started. It takes over printed.
func newProcess(id pool.WorkerID, printed *os.File, logger *slog.Logger, logRate int) *osProcess {
	return &osProcess{
		id:     id,
		output: newOutput(id, printed, logger, logRate),
		exited: make(chan struct{}),
	}
}

// run starts the process and returns when it is reaped. The kernel sends the parent-death
// signal when the starting *thread* ends, so run keeps that for as long as the process
// lives; but it does nothing on it, as the thread may have been given the process's niceness.
func (p *osProcess) run(prog *program, path string, attr *syscall.ProcAttr, started chan<- error) {
	if err := prog.prepareThread(); err != nil {
		started <- err
		return
	}
	pidfd := -1
	attr.Sys.PidFD = &pidfd
	pid, _, err := syscall.StartProcess(path, prog.command, attr)
	if err != nil {
		started <- prog.explain(path, err)
		return
	}
	if p.handle, err = newHandle(pid, pidfd); err == nil {
		err = prog.limit(pid)
	}
	if err != nil {
		unix.Kill(-pid, unix.SIGKILL) // not reaped yet, so ours
		unreachable := handle{pid: pid}
		unreachable.reap()
		if p.handle != nil {
			p.handle.close()
		}
		started <- err
		return
	}
	reaped := make(chan struct{})
	go p.follow(reaped)
	started <- nil
	<-reaped
}

// follow waits for the end of a child of the host's, kills what is left of its group, and
// reaps it.
func (p *osProcess) follow(reaped chan<- struct{}) {
	p.oomBefore = oomKills()
	waitErr := p.handle.awaitDeath()
	p.mu.Lock()
	p.handle.signal(syscall.SIGKILL, waitErr == nil && p.handle.unreaped())
	status, err := p.handle.reap()
	p.reaped = true
	p.handle.close()
	p.mu.Unlock()
	close(reaped)
	exit := &ExitError{ID: p.id, PID: p.handle.pid}
	if err == nil {
		exit.classify(status, p.evidence())
	}
	p.end(exit)
}

// end tells that the process is gone, once its output has been read.
func (p *osProcess) end(exit *ExitError) {
	p.output.drain(drainGrace)
	exit.Output = p.output.tail()
	p.exit = exit
	close(p.exited)
}

// signal sends sig to the process group.
func (p *osProcess) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = p.killed || sig == syscall.SIGKILL && !p.reaped
	p.handle.signal(sig, !p.reaped)
}

// send sends sig to the process alone.
func (p *osProcess) send(sig syscall.Signal) error {
	return p.hold(func(int) error {
		p.killed = p.killed || sig == syscall.SIGKILL
		return p.handle.send(sig)
	})
}

// hold calls f while the number is the process's.
func (p *osProcess) hold(f func(pid int) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	return f(p.handle.pid)
}

// openCounts opens the file of the process's memory counts, which stays this process's.
func (p *osProcess) openCounts() (*os.File, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/statm", p.pid()))
	if err != nil {
		return nil, err
	}
	if err := p.handle.verify(); err != nil { // it was reaped, so that may be another's
		file.Close()
		return nil, err
	}
	return file, nil
}

// orphan kills a process whose fork server has ended, so that anyone may have reaped it.
func (p *osProcess) orphan() {
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	p.signal(syscall.SIGKILL)
}

func (p *osProcess) pid() int { return p.handle.pid }

// evidence returns what a death by SIGKILL is judged by.
func (p *osProcess) evidence() killEvidence {
	p.mu.Lock()
	defer p.mu.Unlock()
	return killEvidence{byUs: p.killed, oomBefore: p.oomBefore, oomNow: oomKills()}
}

// oomKills returns how many processes this machine's kernel has killed for want of
// memory, or -1 if it does not tell.
func oomKills() int64 {
	stat, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(stat)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(count), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
