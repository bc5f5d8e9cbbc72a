package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// killer kills workers at random. It asks the kernel, not the service, which there are.
type killer struct {
	random *rand.Rand
	landed int // processes that were alive before, and are gone
}

// strike kills one worker and returns once that is gone.
func (k *killer) strike() error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		pids := workerPIDs()
		if len(pids) == 0 {
			continue // all are just being replaced
		}
		pid := pids[k.random.IntN(len(pids))]
		victim, err := os.FindProcess(pid) // holds on to this very process, where it may be reused
		if err != nil {
			return err
		}
		if !slices.Contains(workerPIDs(), pid) || victim.Kill() != nil {
			continue // gone by itself
		}
		return k.await(victim, deadline)
	}
	return fmt.Errorf("found no worker to kill for %v", patience)
}

// await waits until a killed process has been reaped.
func (k *killer) await(victim *os.Process, deadline time.Time) error {
	defer victim.Release()
	for !errors.Is(victim.Signal(syscall.Signal(0)), os.ErrProcessDone) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d was killed and is still there", victim.Pid)
		}
		time.Sleep(time.Millisecond)
	}
	k.landed++
	return nil
}

// workerPIDs returns the children of this process that run the worker's program, in order.
func workerPIDs() (pids []int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		content, _ := os.ReadFile(list) // threads come and go
		for _, field := range strings.Fields(string(content)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			line, _ := os.ReadFile(filepath.Join("/proc", field, "cmdline"))
			alive, err := isAlive(pid)
			if err == nil && alive && strings.Contains(string(line), "textworker.py") {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return pids
}

// isAlive reports whether a process exists and has not ended.
func isAlive(pid int) (bool, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X"), nil
}
