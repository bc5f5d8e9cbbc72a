package faults

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// harm begins to execute the plan. The function that it returns waits until all faults have
// landed or are late, and heals them.
func (r *run) harm(ctx context.Context) (heal func()) {
	over := make(chan struct{})
	begin := r.sys.now()
	for i, f := range r.cfg.Plan.Faults {
		random := r.cfg.Plan.random(i)
		for _, at := range f.When.times(random) {
			random := rand.New(rand.NewPCG(r.cfg.Plan.Seed, random.Uint64()))
			r.planned++
			r.report.strikes[f.Kind]++
			r.landing.Go(func() {
				if pause(ctx, begin+at-r.sys.now()) {
					r.strike(ctx, &f, random, over)
				}
			})
		}
	}
	return func() {
		r.landing.Wait()
		close(over)
		r.lasting.Wait()
	}
}

// strike injects a fault into each of its victims, and returns when it has landed or is
// late. It is healed later.
func (r *run) strike(ctx context.Context, f *Planned, random *rand.Rand, over <-chan struct{}) {
	victims, err := r.victims(ctx, f, random)
	r.mu.Lock()
	r.report.Strikes++
	r.mu.Unlock()
	if err != nil {
		r.note(&FaultReport{Kind: f.Kind, Options: f.Options.String(), At: r.sys.now(), Error: err.Error()})
		return
	}
	var landings sync.WaitGroup
	for _, v := range victims {
		landings.Go(func() { r.hit(ctx, f, v, over) })
	}
	landings.Wait()
}

// hit injects a fault into one victim, and returns when it has landed or is late. If
// something else ends the victim before it lands, it hits another one: a plan says how often
// a fault is to land.
func (r *run) hit(ctx context.Context, f *Planned, v *Victim, over <-chan struct{}) {
	fault := &FaultReport{Kind: f.Kind, Options: f.Options.String(), Worker: v.Worker, At: r.sys.now()}
	r.note(fault)
	land, cancel := context.WithTimeout(ctx, r.cfg.LandWithin)
	defer cancel()
	injury, err := r.attempt(ctx, land, v, fault)
	for err != nil && v.Worker != 0 && r.sys.awaitGone(land, v.Worker) {
		next, none := r.instead(land, f, v)
		if none != nil {
			break
		}
		v = next
		r.amend(func() { fault.Worker, fault.At = v.Worker, r.sys.now() })
		injury, err = r.attempt(ctx, land, v, fault)
	}
	if err != nil {
		r.amend(func() { fault.Error = err.Error() })
		return
	}
	r.lasting.Go(func() { r.last(ctx, f, v, injury, fault, over) })
}

// instead chooses another victim for a fault whose own has ended.
func (r *run) instead(ctx context.Context, f *Planned, v *Victim) (*Victim, error) {
	g := *f
	if g.Who.Aim == AtShare || g.Who.Aim == AtAll {
		g.Who = Who{}
	}
	victims, err := r.victims(ctx, &g, v.Rand)
	if err != nil {
		return nil, err
	}
	return victims[0], nil
}

// attempt injects a fault into one victim and waits until it has landed, or land ends. The
// victim counts as harmed from now on: until it is healed, or, after an error, until attempt
// returns.
func (r *run) attempt(ctx, land context.Context, v *Victim, fault *FaultReport) (*Injury, error) {
	open := r.sys.front.Fault(fault.Kind, v.Worker)
	r.sys.harm(v.Worker, 1)
	injury, err := r.cfg.Kit[fault.Kind].Inject(ctx, v)
	if err != nil {
		r.sys.harm(v.Worker, -1)
		return nil, fmt.Errorf("it could not be injected: %w", err)
	}
	evidence, err := injury.Landed(land)
	r.amend(func() { fault.Ends, fault.Evidence = injury.Ends, evidence })
	if err != nil {
		if injury.Heal != nil {
			r.heal(injury, fault)
		}
		r.sys.harm(v.Worker, -1)
		return nil, fmt.Errorf("it did not land within %v: %w", r.cfg.LandWithin, err)
	}
	r.amend(func() { fault.Landed = r.sys.now() })
	open.Landed(injury.Ends, evidence)
	r.say("%s of worker %d: %s", fault.Kind, v.Worker, evidence)
	return injury, nil
}

// last waits as long as a fault is to last, and heals it.
func (r *run) last(ctx context.Context, f *Planned, v *Victim, injury *Injury, fault *FaultReport, over <-chan struct{}) {
	if f.For > 0 {
		limited, cancel := context.WithTimeout(ctx, f.For)
		defer cancel()
		ctx = limited
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
	if injury.Heal != nil {
		r.heal(injury, fault)
	}
	r.sys.harm(v.Worker, -1)
}

// heal ends the harm of an injury. It does so also when the run is cut short.
func (r *run) heal(injury *Injury, fault *FaultReport) {
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.RecoverWithin)
	defer cancel()
	err := injury.Heal(ctx)
	r.amend(func() {
		if err == nil {
			fault.Healed = r.sys.now()
		} else if fault.Error == "" {
			fault.Error = fmt.Sprintf("it could not be healed: %v", err)
		}
	})
}

// note keeps a fault for the report.
func (r *run) note(f *FaultReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Faults = append(r.report.Faults, f)
}

// amend changes what is kept of a fault.
func (r *run) amend(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// victims chooses whom a fault hits. If nobody is there that it could hit it waits for
// somebody, as long as a fault may take to land.
func (r *run) victims(ctx context.Context, f *Planned, random *rand.Rand) ([]*Victim, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.LandWithin)
	defer cancel()
	for {
		changed := r.sys.changed()
		ids, err := r.aim(f, random)
		if err == nil {
			victims := make([]*Victim, len(ids))
			for i, id := range ids {
				victims[i] = &Victim{
					System: r.sys, Worker: id, Session: pool.SessionID(f.Who.Session), Options: f.Options,
					Rand: rand.New(rand.NewPCG(random.Uint64(), uint64(id))),
				}
			}
			return victims, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// errNobody says that a fault would hit nobody.
var errNobody = errors.New("no worker was ready that it could hit")

// aim chooses workers; 0 is nobody in particular.
func (r *run) aim(f *Planned, random *rand.Rand) ([]pool.WorkerID, error) {
	switch f.Who.Aim {
	case AtPool, AtStarts:
		return []pool.WorkerID{0}, nil
	case AtSession:
		id, err := r.sys.holder(pool.SessionID(f.Who.Session), random)
		return []pool.WorkerID{id}, err
	}
	ready := r.sys.workers()
	if len(ready) == 0 {
		return nil, errNobody
	}
	random.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
	switch f.Who.Aim {
	case AtShare:
		return ready[:min(len(ready), int(math.Ceil(f.Who.Share*float64(len(ready)))))], nil
	case AtAll:
		return ready, nil
	}
	return ready[:1], nil
}

// pause waits, and reports whether it came to the end of that.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
