package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process"
)

// processHarms harm processes; see the functions for what each does and how it is seen.
func processHarms() harms[processHarm] {
	return harms[processHarm]{
		"kill":        func(_ *Victim, p *process.Worker) (*Injury, error) { return endBy(p, syscall.SIGKILL) },
		"segv":        func(_ *Victim, p *process.Worker) (*Injury, error) { return endBy(p, syscall.SIGSEGV) },
		"stop":        stopProcess,
		"hog":         hog,
		"squeeze":     squeeze,
		"descriptors": descriptors,
		"disk":        fillDisk,
		"cpu":         starve,
	}
}

// crash ends a process by SIGKILL.
func crash(p *process.Worker) error { return p.Signal(syscall.SIGKILL) }

// endBy sends a process a signal that ends it. Seen: it is reaped, and its status says that
// it died by that signal; or, for a program that handles SIGSEGV itself as Go's do, its last
// output names it.
func endBy(p *process.Worker, sig syscall.Signal) (*Injury, error) {
	if err := p.Signal(sig); err != nil {
		return nil, err
	}
	return &Injury{Ends: true, Landed: func(ctx context.Context) (string, error) {
		select {
		case <-p.Done():
		case <-ctx.Done():
			return "", fmt.Errorf("process %d is still there", p.PID())
		}
		exit := p.Exit()
		if diedBy(exit, sig) {
			return fmt.Sprintf("process %d is reaped, dead by %s", exit.PID, unix.SignalName(sig)), nil
		}
		return "", fmt.Errorf("it ended otherwise: %w", exit)
	}}, nil
}

// diedBy says that a signal brought about an exit.
func diedBy(exit *process.ExitError, sig syscall.Signal) bool {
	if exit.Kind == process.ExitSignal {
		return exit.Signal == sig
	}
	return exit.Kind == process.ExitCode && strings.Contains(exit.Output, unix.SignalName(sig)) || goGaveUp(exit)
}

// goGaveUp says that the runtime of a Go program ended it: that prints why and then all
// goroutines, of which only the last may be kept, and exits with code 2.
func goGaveUp(exit *process.ExitError) bool {
	return exit.Kind == process.ExitCode && exit.Code == 2 && strings.Contains(exit.Output, "goroutine ")
}

// stopProcess stops a process by SIGSTOP, until it is healed by SIGCONT. Seen: its state in
// /proc is T.
func stopProcess(_ *Victim, p *process.Worker) (*Injury, error) {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return &Injury{
		Landed: func(ctx context.Context) (string, error) {
			return until(ctx, func() (string, error) {
				state, err := stateOf(p)
				if err == nil && state != "T" {
					err = fmt.Errorf("process %d is in state %s", p.PID(), state)
				}
				return fmt.Sprintf("process %d is in state T", p.PID()), err
			})
		},
		Heal: func(ctx context.Context) error { return resume(ctx, p) },
	}, nil
}

// resume continues a process and returns when it is not stopped any more, or gone.
func resume(ctx context.Context, p *process.Worker) error {
	err := p.Signal(syscall.SIGCONT)
	if err == nil {
		_, err = until(ctx, func() (string, error) {
			state, err := stateOf(p)
			if err == nil && state == "T" {
				err = fmt.Errorf("process %d is still stopped", p.PID())
			}
			return "", err
		})
	}
	return unlessGone(err)
}

// unlessGone returns err, unless that says that a process is gone, which heals it.
func unlessGone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// stateOf returns the state letter of a process. If it is gone the error is final.
func stateOf(p *process.Worker) (state string, err error) {
	err = p.Hold(func(pid int) error {
		_, state, err = readStat(pid)
		return err
	})
	return state, finalIfGone(err)
}

func finalIfGone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return finalError{err}
	}
	return err
}

// readStat returns the name and the state letter of a process.
func readStat(pid int) (comm, state string, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	open, shut := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || shut < open || shut+2 >= len(stat) {
		return "", "", fmt.Errorf("/proc/%d/stat is %q", pid, stat)
	}
	return string(stat[open+1 : shut]), string(stat[shut+2 : shut+3]), nil
}

// errand is something that the next lease of a worker is to do within it.
type errand struct {
	begun atomic.Int32  // by errandWaits and its like
	done  chan struct{} // closed when err is set
	err   error
}

const (
	errandWaits int32 = iota
	errandRuns
	errandDropped
)

// send has the next holder of the worker run f. What f returns is the errand's; of it the
// holder is told only that the worker broke.
func (v *Victim) send(f func(ctx context.Context, w Worker) error) *errand {
	e := &errand{done: make(chan struct{})}
	v.Within(func(ctx context.Context, w Worker) error {
		if !e.begun.CompareAndSwap(errandWaits, errandRuns) {
			return nil
		}
		defer close(e.done)
		if e.err = f(ctx, w); errors.Is(e.err, process.ErrBroken) {
			return e.err
		}
		return nil
	})
	return e
}

// await waits for the end of an errand.
func (e *errand) await(ctx context.Context, p *process.Worker) error {
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return e.drop(context.Cause(ctx))
	case <-p.Done():
		if e.begun.CompareAndSwap(errandWaits, errandDropped) {
			return errors.New("the worker ended before it was leased")
		}
	}
	select {
	case <-e.done: // it has failed, as the worker has
		return e.err
	case <-ctx.Done():
		return e.drop(context.Cause(ctx))
	}
}

// drop sees that an errand does not begin any more.
func (e *errand) drop(cause error) error {
	if e.begun.CompareAndSwap(errandWaits, errandDropped) {
		return fmt.Errorf("nobody has leased the worker: %w", cause)
	}
	return fmt.Errorf("the worker is at it still: %w", cause)
}

// needs says that the worker has no method that a fault needs.
func needs(p *process.Worker, method string) error {
	if !speaks(p, method) {
		return fmt.Errorf("worker %d does not announce the method %q", p.ID(), method)
	}
	return nil
}

// gateState says what a process that was seen at a gate does now: its state, or that it has
// gone on. A process that was given the number of one that is gone does not name the gate.
func gateState(pid int, control string) (state string, err error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(line, []byte(control)) {
		return "", os.ErrProcessDone
	}
	_, state, err = readStat(pid)
	return state, err
}

// makePipe makes a named pipe.
func makePipe(path string) error { return unix.Mkfifo(path, 0o600) }
