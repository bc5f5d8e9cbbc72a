package faults

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// Standard returns the injectors of this package.
func Standard() Kit {
	return Kit{
		"burst": InjectorFunc(burst),
		"kill":  InjectorFunc(kill),
	}
}

// errKilled is what a pool of fakes is told of a worker that was killed.
var errKilled = errors.New("faults: killed")

// kill ends a worker by SIGKILL. Evidence: its process is gone.
func kill(_ context.Context, v *Victim) (*Injury, error) {
	if f, ok := v.System.worker(v.Worker).(*fake); ok {
		if !f.kill(errKilled) {
			return nil, errors.New("the worker is dead already")
		}
		return &Injury{Ends: true, Landed: func(context.Context) (string, error) {
			<-f.gone
			return "the fake answers nothing any more", nil
		}}, nil
	}
	p := v.Process()
	if p == nil {
		return nil, fmt.Errorf("worker %d has no process", v.Worker)
	}
	pid := p.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return nil, err
	}
	return &Injury{Ends: true, Landed: func(ctx context.Context) (string, error) {
		select {
		case <-p.Done():
			return fmt.Sprintf("process %d is reaped", pid), nil
		case <-ctx.Done():
			return "", fmt.Errorf("process %d is still there", pid)
		}
	}}, nil
}
