package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// HostDeath says what came of a host that was killed.
type HostDeath struct {
	PID         int
	Descendants int           // that it had just before
	Gone        time.Duration // from its death until the last of them was seen gone
}

// KillHost kills a host of workers by SIGKILL and waits until none of its descendants is
// left. The fault is none of a system's: the pool dies with its host, so host is another
// program that has one, in use, such as the test binary executed again. host must be started
// and not waited for; KillHost waits for it, whatever happens. It blocks until all are gone
// or ctx ends.
//
// The host is stopped before it is killed, so that its descendants can be counted. They are
// told from later processes of the same number by when they began. The error says that the
// host was not killed by this signal, as it had ended before; that it had no descendants, so
// that nothing is shown; or which are left when ctx ends.
func KillHost(ctx context.Context, host *exec.Cmd) (HostDeath, error) {
	death := HostDeath{PID: host.Process.Pid}
	err := host.Process.Signal(syscall.SIGSTOP)
	var family []kin
	if err == nil {
		family, err = descendants(ctx, death.PID)
	}
	err = errors.Join(err, host.Process.Kill())
	host.Wait()
	killed := time.Now()
	if status, ok := host.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		err = errors.Join(fmt.Errorf("faults: the host was not killed: %v", host.ProcessState), err)
	}
	death.Descendants = len(family)
	if err == nil && len(family) == 0 {
		err = errors.New("faults: the host had no descendants")
	}
	if err != nil {
		return death, err
	}
	_, err = until(ctx, func() (string, error) {
		for _, k := range family {
			if now, ok := kinOf(k.pid); ok && now.begun == k.begun && now.alive {
				return "", fmt.Errorf("faults: process %d is left %v after its host was killed", k.pid, time.Since(killed))
			}
		}
		return "", nil
	})
	death.Gone = time.Since(killed)
	return death, err
}

// kin is a process that is told from a later one of the same number.
type kin struct {
	pid, parent int
	begun       string // in ticks since the machine's start
	alive       bool   // no zombie
}

func kinOf(pid int) (kin, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return kin{}, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return kin{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	return kin{pid, parent, fields[19], fields[0] != "Z" && fields[0] != "X"}, err == nil
}

// descendants returns the processes that a stopped one has, and theirs, once two looks in
// a row find the same: what it began before it was stopped may have to appear.
func descendants(ctx context.Context, pid int) (family []kin, err error) {
	last := -1
	_, err = until(ctx, func() (string, error) {
		if _, state, err := readStat(pid); err != nil || state != "T" {
			if state == "Z" {
				return "", final("faults: the host has ended")
			}
			return "", errors.Join(fmt.Errorf("faults: the host is in state %q, not stopped", state), err)
		}
		family = family[:0]
		children := make(map[int][]kin)
		files, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return "", err
		}
		for _, file := range files {
			n, _ := strconv.Atoi(filepath.Base(file))
			if k, ok := kinOf(n); ok && k.alive {
				children[k.parent] = append(children[k.parent], k)
			}
		}
		for next := []int{pid}; len(next) > 0; next = next[1:] {
			for _, k := range children[next[0]] {
				family = append(family, k)
				next = append(next, k.pid)
			}
		}
		if len(family) != last {
			last = len(family)
			return "", errors.New("faults: the host's descendants were still changing")
		}
		return "", nil
	})
	return family, err
}
