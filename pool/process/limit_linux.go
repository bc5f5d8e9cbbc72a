package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// limit gives a process that has just been started, and has not been spoken to, the limits
// of p. The process's later children inherit them. It is no error if the process has ended.
func (p *program) limit(pid int) error {
	for _, l := range []struct {
		name     string
		resource int
		most     uint64
		set      bool
	}{
		{"AddressSpace", unix.RLIMIT_AS, uint64(p.addressSpace), p.addressSpace > 0},
		{"OpenFiles", unix.RLIMIT_NOFILE, uint64(p.openFiles), p.openFiles > 0},
		{"CoreDumps", unix.RLIMIT_CORE, 0, !p.coreDumps},
	} {
		if !l.set {
			continue
		}
		if err := lower(pid, l.resource, l.most); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("limit %s: prlimit: %w", l.name, err)
		}
	}
	return nil
}

// lower bounds a resource of a process by most, or leaves it below that if it is.
func lower(pid, resource int, most uint64) error {
	var is unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &is); err != nil {
		return err
	}
	return unix.Prlimit(pid, resource, &unix.Rlimit{Cur: min(most, is.Cur), Max: min(most, is.Max)}, nil)
}

// prepareThread gives the calling thread the umask and the niceness of p, which a process
// started from it inherits. The thread must not be used for anything else afterwards.
func (p *program) prepareThread() error {
	if p.nice != 0 {
		// The main thread's niceness is the one that the host was given.
		inverse, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid())
		if err != nil {
			return fmt.Errorf("limit Nice: getpriority: %w", err)
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 20-inverse+p.nice); err != nil {
			return fmt.Errorf("limit Nice: setpriority: %w", err)
		}
	}
	if p.umask != nil {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("limit Umask: to spare the host's own, a thread must unshare its: %w", err)
		}
		unix.Umask(int(*p.umask))
	}
	return nil
}

// inheritable returns the highest descriptor of the host that a new process would be
// given though nobody meant it to: one that the host was itself started with, or that
// some library opened carelessly. It is 2 if there is none.
//
// It asks about every number that the host's table has room for, since listing the
// directory in /proc takes several times as long.
func inheritable() (int, error) {
	slots, err := descriptorSlots()
	if err != nil {
		return 0, err
	}
	for fd := slots - 1; fd > 2; fd-- {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			return fd, nil
		}
	}
	return 2, nil
}

// descriptorSlots returns a number that all descriptors of the host are below.
func descriptorSlots() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("asking for the host's descriptors: %w", err)
	}
	_, after, _ := strings.Cut(string(status), "\nFDSize:")
	line, _, _ := strings.Cut(after, "\n")
	slots, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, fmt.Errorf("asking for the host's descriptors: FDSize in /proc/self/status: %w", err)
	}
	return slots, nil
}
