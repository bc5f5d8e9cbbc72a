package faults

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errKilled is what a pool of fakes is told of a worker that was killed.
var errKilled = errors.New("faults: killed")

// fakeHarms harm fakes:
//
//   - kill ends one, for good.
//   - stop freezes one until it is healed.
//   - slow delays each of its answers by delay= (100ms). Stop and slow have landed once a
//     caller has met them.
func fakeHarms() harms[fakeHarm] {
	return harms[fakeHarm]{"kill": killFake, "stop": stopFake, "slow": slowFake}
}

func killFake(_ *Victim, f *fake) (*Injury, error) {
	if !f.kill(errKilled) {
		return nil, errors.New("the worker is dead already")
	}
	return &Injury{Ends: true, Landed: func(context.Context) (string, error) {
		<-f.gone
		return "the fake answers nothing any more", nil
	}}, nil
}

func stopFake(_ *Victim, f *fake) (*Injury, error) {
	frozen := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead || f.frozen != nil {
		return nil, errors.New("the worker is dead, or stopped already")
	}
	f.frozen = frozen
	return &Injury{
		Landed: f.metSinceLocked("a caller waits for the frozen fake"),
		Heal: func(context.Context) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.frozen = nil
			close(frozen)
			return nil
		},
	}, nil
}

func slowFake(v *Victim, f *fake) (*Injury, error) {
	delay, err := v.Options.Duration("delay", 100*time.Millisecond)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead || f.delay > 0 {
		return nil, errors.New("the worker is dead, or slow already")
	}
	f.delay = delay
	return &Injury{
		Landed: f.metSinceLocked(fmt.Sprintf("a caller waits %v more for the fake", delay)),
		Heal: func(context.Context) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.delay = 0
			return nil
		},
	}, nil
}

// metSinceLocked returns a look for callers that have met the harm since now.
func (f *fake) metSinceLocked(evidence string) func(context.Context) (string, error) {
	before := f.calls
	return func(ctx context.Context) (string, error) {
		return until(ctx, func() (string, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			switch {
			case f.calls > before:
				return evidence, nil
			case f.dead:
				return "", final("the fake died before anybody called it")
			}
			return "", errors.New("nobody has called the fake")
		})
	}
}
