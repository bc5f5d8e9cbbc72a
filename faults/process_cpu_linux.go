package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

const (
	dutyPeriod  = 20 * time.Millisecond // of stopping and continuing
	mostBusy    = 64                    // processes that keep the machine busy
	stopsWanted = 3                     // that must have been seen
	usageWanted = 10 * time.Millisecond // of each busy process's processor time
)

// starve takes processor time from a worker: it is stopped and continued in turn so that it
// may run share= (0.2) of the time; or, with busy=, so many processes that compute run beside
// it. Seen: its state in /proc was T after several of the stops; or each of the others has
// used processor time, and the worker has waited longer than before for a processor, by its
// schedstat. Healing ends all that.
func starve(v *Victim, p *process.Worker) (*Injury, error) {
	busy, err := v.Options.Int("busy", 0)
	if err != nil {
		return nil, err
	}
	if busy < 0 || busy > mostBusy {
		return nil, fmt.Errorf("option busy is %d; want from 0 to %d", busy, mostBusy)
	}
	if busy > 0 {
		return crowd(p, int(busy))
	}
	share := 0.2
	if text, given := v.Options["share"]; given {
		if share, err = strconv.ParseFloat(text, 64); err != nil || share <= 0 || share >= 1 {
			return nil, fmt.Errorf("option share is %q; want a number between 0 and 1", text)
		}
	}
	return ration(p, time.Duration(share*float64(dutyPeriod))), nil
}

// ration lets a process run for so long in each period.
func ration(p *process.Worker, run time.Duration) *Injury {
	var seen atomic.Int32
	over, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- dutyCycle(p, run, over, &seen) }()
	return &Injury{
		Landed: func(ctx context.Context) (string, error) {
			return until(ctx, func() (string, error) {
				if n := seen.Load(); n < stopsWanted {
					_, err := stateOf(p)
					return "", errors.Join(fmt.Errorf("it was seen stopped %d times, want %d", n, stopsWanted), err)
				}
				return fmt.Sprintf("process %d was seen in state T after each of %d stops", p.PID(), stopsWanted), nil
			})
		},
		Heal: func(ctx context.Context) error {
			close(over)
			return errors.Join(<-done, resume(ctx, p))
		},
	}
}

// dutyCycle stops and continues a process until it is gone or the harm is over.
func dutyCycle(p *process.Worker, run time.Duration, over <-chan struct{}, seen *atomic.Int32) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for stopped := false; ; stopped = !stopped {
		select {
		case <-over:
			return nil
		case <-timer.C:
		}
		sig, next := syscall.SIGSTOP, dutyPeriod-run
		if stopped {
			sig, next = syscall.SIGCONT, run
			if state, err := stateOf(p); err == nil && state == "T" {
				seen.Add(1)
			}
		}
		if err := p.Signal(sig); err != nil {
			return unlessGone(err)
		}
		timer.Reset(next)
	}
}

// crowd starts busy processes.
func crowd(p *process.Worker, n int) (*Injury, error) {
	before, err := delayOf(p)
	if err != nil {
		return nil, err
	}
	others := make([]*busyProcess, 0, n)
	end := func(context.Context) error {
		for _, b := range others {
			b.end()
		}
		return nil
	}
	for range n {
		b, err := startBusy()
		if err != nil {
			end(context.Background())
			return nil, err
		}
		others = append(others, b)
	}
	return &Injury{Heal: end, Landed: func(ctx context.Context) (string, error) {
		return until(ctx, func() (string, error) {
			for _, b := range others {
				if used, err := schedule(b.pid, 0); err != nil || used < usageWanted {
					return "", errors.Join(fmt.Errorf("process %d that is to be busy has used %v", b.pid, used), err)
				}
			}
			now, err := delayOf(p)
			if err == nil && now <= before {
				err = fmt.Errorf("process %d has not waited for a processor since", p.PID())
			}
			return fmt.Sprintf("process %d waited %v for a processor beside %d busy ones", p.PID(), now-before, n), err
		})
	}}, nil
}

// busyProcess is a process that computes. It is reaped by end alone, so its number is its own.
type busyProcess struct {
	pid  int
	end  func()
	gone chan struct{}
}

// startBusy starts a process that computes until it is ended, or this one dies.
func startBusy() (*busyProcess, error) {
	b := &busyProcess{gone: make(chan struct{})}
	started, stop := make(chan error), make(chan struct{})
	go func() {
		defer close(b.gone)
		runtime.LockOSThread() // whose end the parent-death signal means
		defer runtime.UnlockOSThread()
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		if err == nil {
			b.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			<-stop
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	b.end = func() { close(stop); <-b.gone }
	return b, <-started
}

// delayOf returns how long a process's threads have waited for a processor.
func delayOf(p *process.Worker) (d time.Duration, err error) {
	err = p.Hold(func(pid int) (err error) { d, err = schedule(pid, 1); return err })
	return d, finalIfGone(err)
}

// schedule sums a field of the schedstat of a process's threads: 0 is the time that they
// ran, 1 the time that they waited to run.
func schedule(pid, field int) (sum time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(fmt.Errorf("process %d has no schedstat", pid), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread is gone
		}
		fields := strings.Fields(string(text))
		if field >= len(fields) {
			return 0, fmt.Errorf("%s is %q", file, text)
		}
		n, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, nil
}
