package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

// Standard returns the injectors of this package that harm workers and their starts. What is
// not for a layer fails to be injected there.
//
// Of workers: kill and segv end one; stop freezes
// one; slow (delay=) delays the answers of a fake; cpu (share= or busy=) takes processor time
// from one. hog (bytes=) has one fill memory and squeeze (bytes=, proof=) leaves it none,
// descriptors (spare=) leaves it no descriptors, disk (bytes=, proof=) lets it write no file.
//
// Of starts: start-exit, start-hang, start-slow (delay=), start-flood (lines=) and
// start-crash-loop, each for the next n= starts (1), or for all until healed with n=0.
func Standard() Kit {
	kit := make(Kit)
	fakes, processes := fakeHarms(), processHarms()
	for _, kinds := range []Kit{fakes.kit(), processes.kit()} {
		for kind := range kinds {
			kit[kind] = harm{fakes[kind], processes[kind]}
		}
	}
	maps.Copy(kit, startKit())
	maps.Copy(kit, wireKit())
	maps.Copy(kit, tableKit())
	kit["burst"] = InjectorFunc(burst)
	return kit
}

// fakeHarm and processHarm harm a worker that was ready when they were chosen.
type (
	fakeHarm    func(v *Victim, f *fake) (*Injury, error)
	processHarm func(v *Victim, p *process.Worker) (*Injury, error)
)

// harms are those of one layer, by kind.
type harms[H any] map[string]H

func (hs harms[H]) kit() Kit {
	kit := make(Kit)
	for kind := range hs {
		kit[kind] = nil
	}
	return kit
}

// harm is a kind of fault of a worker, with what it does on each layer; nil: nothing.
type harm struct {
	fake    fakeHarm
	process processHarm
}

// Inject harms the worker by what its layer has.
func (h harm) Inject(_ context.Context, v *Victim) (*Injury, error) {
	switch w := v.System.worker(v.Worker).(type) {
	case nil:
		return nil, fmt.Errorf("worker %d is gone", v.Worker)
	case *fake:
		if h.fake != nil {
			return h.fake(v, w)
		}
	case *process.Worker:
		if h.process != nil && v.System.Layer() == Process {
			return h.process(v, w)
		}
	}
	return nil, fmt.Errorf("it is not for workers of the layer %q", v.System.Layer())
}

// finalError says that what is waited for cannot come any more.
type finalError struct{ error }

func final(format string, args ...any) error { return finalError{fmt.Errorf(format, args...)} }

// until looks, ever less often, until there is evidence, until there can be none, or until
// ctx ends. The error says what was seen last.
func until(ctx context.Context, look func() (evidence string, err error)) (string, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		evidence, err := look()
		if err == nil {
			return evidence, nil
		}
		var over finalError
		if errors.As(err, &over) {
			return "", over.error
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", err
		}
	}
}

// errReplaced is why a worker is retired that cannot be healed otherwise.
var errReplaced = errors.New("faults: replaced, to heal it")

// replace has the pool replace a worker, and returns when it is gone.
func (v *Victim) replace(ctx context.Context, p *process.Worker) error {
	v.System.Pool.Retire(v.Worker, errReplaced)
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("process %d is still there: %w", p.PID(), context.Cause(ctx))
	}
}
