package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
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

// osProcess is a process that leads a group of its own. It is signalled only while it is
// not reaped: until then its pid, which is also its group's, cannot be anyone else's.
type osProcess struct {
	id        pool.WorkerID
	output    output
	oomBefore int64

	exited chan struct{} // closed after exit is set
	exit   *ExitError    // set once reaped, with the group dead and the output read

	mu      sync.Mutex
	process *os.Process // guarded by mu until launch returns, then constant
	reaped  bool        // guarded by mu
	killed  bool        // guarded by mu: we sent SIGKILL
}

// pipePair is one pipe between the host and a process.
type pipePair struct{ host, child *os.File }

// newPipe makes a pipe whose ends are closed on exec. The host's end is non-blocking, so
// that closing it interrupts its readers; the child's blocks, as programs expect.
func newPipe(childReads bool, name string) (pipePair, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return pipePair{}, os.NewSyscallError("pipe2", err)
	}
	child, host := fds[0], fds[1]
	if !childReads {
		child, host = host, child
	}
	if err := unix.SetNonblock(host, true); err != nil {
		unix.Close(child)
		unix.Close(host)
		return pipePair{}, os.NewSyscallError("fcntl", err)
	}
	return pipePair{os.NewFile(uintptr(host), name), os.NewFile(uintptr(child), name)}, nil
}

// duplex joins two pipes to a channel.
type duplex struct{ replies, requests *os.File }

func (d *duplex) Read(p []byte) (int, error)        { return d.replies.Read(p) }
func (d *duplex) Write(p []byte) (int, error)       { return d.requests.Write(p) }
func (d *duplex) SetReadDeadline(t time.Time) error { return d.replies.SetReadDeadline(t) }
func (d *duplex) Close() error                      { return errors.Join(d.requests.Close(), d.replies.Close()) }

// launch starts a process. On success the caller owns the channel and owes an end to the
// process; on failure nothing is left.
func launch(cfg *Config, id pool.WorkerID, env []string) (_ io.ReadWriteCloser, _ *osProcess, err error) {
	path, err := exec.LookPath(cfg.Command[0])
	if err != nil {
		return nil, nil, fmt.Errorf("process: %w", err)
	}
	var opened []*os.File
	defer func() {
		if err != nil {
			closeAll(opened)
		}
	}()
	var pipes [3]pipePair // requests, replies, output
	for i := range pipes {
		if pipes[i], err = newPipe(i == 0, "worker "+strconv.FormatUint(uint64(id), 10)); err != nil {
			return nil, nil, fmt.Errorf("process: %w", err)
		}
		opened = append(opened, pipes[i].host, pipes[i].child)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("process: %w", err)
	}
	defer null.Close()
	requests, replies, printed := pipes[0], pipes[1], pipes[2]
	files := []*os.File{null, printed.child, printed.child, requests.child, replies.child}
	if cfg.Stdio {
		files = []*os.File{requests.child, replies.child, printed.child}
	}

	p := &osProcess{
		id:        id,
		output:    output{source: printed.host, logger: cfg.Logger, ended: make(chan struct{})},
		oomBefore: oomKills(),
		exited:    make(chan struct{}),
	}
	started := make(chan error, 1)
	go p.run(path, cfg.Command, &os.ProcAttr{
		Dir:   cfg.Dir,
		Env:   env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}, started)
	if err = <-started; err != nil {
		return nil, nil, fmt.Errorf("process: %w", err)
	}
	closeAll([]*os.File{requests.child, replies.child, printed.child})
	go p.output.copy(id, p.pid())
	return &duplex{replies: replies.host, requests: requests.host}, p, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// run starts the process, waits for its end, kills what is left of its group, and reaps
// it. The kernel sends the parent-death signal when the starting *thread* ends, so run
// keeps that thread for as long as the process lives, waiting on it.
func (p *osProcess) run(path string, args []string, attr *os.ProcAttr, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	process, err := os.StartProcess(path, args, attr)
	if err != nil {
		started <- err
		return
	}
	p.mu.Lock()
	p.process = process
	p.mu.Unlock()
	if err := process.WithHandle(func(uintptr) {}); err != nil {
		p.signal(syscall.SIGKILL)
		process.Wait()
		started <- fmt.Errorf("pidfd of the new process: %w (Linux 5.4 or later is required)", err)
		return
	}
	started <- nil
	waitErr := p.waitDead()

	p.mu.Lock()
	if waitErr == nil {
		// The group's number is still ours: its leader is dead but not reaped.
		unix.Kill(-process.Pid, syscall.SIGKILL)
	}
	state, err := process.Wait()
	p.reaped = true
	exit := &ExitError{ID: p.id, PID: process.Pid}
	if err == nil {
		if status, ok := state.Sys().(syscall.WaitStatus); ok {
			exit.classify(status, killEvidence{byUs: p.killed, oomBefore: p.oomBefore, oomNow: oomKills()})
		}
	}
	p.mu.Unlock()
	p.output.drain(drainGrace)
	exit.Output = p.output.tail()
	p.exit = exit
	close(p.exited)
}

// waitDead blocks until the process is dead, without reaping it.
func (p *osProcess) waitDead() error {
	var waitErr error
	err := p.process.WithHandle(func(pidfd uintptr) {
		for {
			waitErr = unix.Waitid(unix.P_PIDFD, int(pidfd), nil, unix.WEXITED|unix.WNOWAIT, nil)
			if waitErr != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, waitErr)
}

// signal sends sig to the process group, unless its leader is reaped.
func (p *osProcess) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return
	}
	p.killed = p.killed || sig == syscall.SIGKILL
	unix.Kill(-p.process.Pid, sig)
}

func (p *osProcess) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process.Pid
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
