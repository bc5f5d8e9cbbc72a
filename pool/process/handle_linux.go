package process

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalGroupFlag makes pidfd_send_signal reach the group that a process leads (Linux 6.9).
const signalGroupFlag = 1 << 2 // PIDFD_SIGNAL_PROCESS_GROUP

// handle is a hold on a process that leads a group. It never comes to mean another process,
// even when this one is gone and its number has been given away.
type handle struct {
	pid   int
	pidfd *os.File // in the runtime's poller
}

// newHandle takes over a pidfd.
func newHandle(pid, pidfd int) (*handle, error) {
	if pidfd < 0 {
		return nil, errors.New("no pidfd of the new process: Linux 5.4 or later is required")
	}
	if err := unix.SetNonblock(pidfd, true); err != nil {
		unix.Close(pidfd)
		return nil, fmt.Errorf("pidfd of the new process: %w", err)
	}
	return &handle{pid: pid, pidfd: os.NewFile(uintptr(pidfd), fmt.Sprintf("process %d", pid))}, nil
}

// verify checks that the pidfd, which came from another process, is that of the pid.
func (h *handle) verify() error {
	var info []byte
	var err error
	if controlErr := h.control(func(fd int) { info, err = os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd)) }); controlErr != nil {
		return controlErr
	}
	if err != nil {
		return fmt.Errorf("asking what a descriptor is: %w", err)
	}
	if !strings.Contains(string(info), fmt.Sprintf("\nPid:\t%d\n", h.pid)) {
		return fmt.Errorf("%w: the descriptor that came with process %d is not its pidfd", ErrProtocol, h.pid)
	}
	return nil
}

// awaitDeath blocks until the process is dead, reaped or not. It takes no thread.
func (h *handle) awaitDeath() error {
	conn, err := h.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var pollErr error
	err = conn.Read(func(fd uintptr) bool {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		var n int
		for {
			if n, pollErr = unix.Poll(polled, 0); pollErr != unix.EINTR {
				return n > 0 || pollErr != nil
			}
		}
	})
	return errors.Join(err, pollErr)
}

// unreaped reports whether the process, a child of the host's, is dead but not reaped.
func (h *handle) unreaped() bool {
	for {
		switch err := unix.Waitid(unix.P_PID, h.pid, nil, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil); err {
		case nil:
			return true
		case unix.EINTR:
		default:
			return false
		}
	}
}

// reap takes the status of the process, a child of the host's that is dead.
func (h *handle) reap() (status syscall.WaitStatus, err error) {
	for {
		if _, err = syscall.Wait4(h.pid, &status, 0, nil); err != syscall.EINTR {
			return status, err
		}
	}
}

// signal sends sig to the group that the process leads. A kernel that cannot do so by a
// pidfd does it by number, if the caller vouches that the number is still the process's:
// while it is not reaped.
func (h *handle) signal(sig syscall.Signal, vouched bool) {
	var err error
	if controlErr := h.control(func(fd int) {
		err = unix.PidfdSendSignal(fd, sig, nil, signalGroupFlag)
		switch {
		case err == unix.EINVAL && vouched:
			err = unix.Kill(-h.pid, sig)
		case err == unix.EINVAL:
			err = unix.ESRCH
		}
		if err == unix.ESRCH { // the group is out of reach, or not made yet
			unix.PidfdSendSignal(fd, sig, nil, 0)
		}
	}); controlErr != nil {
		return // closed: the process is gone
	}
}

// send sends sig to the process alone.
func (h *handle) send(sig syscall.Signal) error {
	var err error
	if controlErr := h.control(func(fd int) { err = unix.PidfdSendSignal(fd, sig, nil, 0) }); controlErr != nil {
		return controlErr
	}
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

func (h *handle) control(f func(fd int)) error {
	conn, err := h.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Control(func(fd uintptr) { f(int(fd)) })
}

func (h *handle) close() { h.pidfd.Close() }
