package faults

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/poolproof/poolproof/linearize"
)

// RunConfig describes a run.
type RunConfig struct {
	System SystemConfig
	Load   Load
	Plan   Plan
	Kit    Kit // nil: Standard()

	Before        time.Duration // of load without harm, to compare with; 0: 1 s
	After         time.Duration // of load once capacity is back; 0: 1 s
	LandWithin    time.Duration // of a fault's injection it must have landed; 0: 5 s
	RecoverWithin time.Duration // of healing capacity must be back; 0: 30 s

	// Criteria are what the run must meet besides what every run must (see Report).
	Criteria []Criterion
	// Limits are what the run can never pass; see there for the zero value.
	Limits Limits
	// Dir is where the history is written before it is judged, as HistoryFile. Empty: it
	// is not written.
	Dir string

	// Progress is told what happens, on any goroutine. Nil: nobody is told.
	Progress func(text string)
	// Sampled is told the state of the run ten times a second, on one goroutine, for a view
	// while it lasts. Nil: nobody is told.
	Sampled func(Glimpse)
}

// HistoryFile is the name of the history in RunConfig.Dir.
const HistoryFile = "history.jsonl"

// Criterion is what a run must meet besides what every run must.
type Criterion struct {
	Says  string              // the criterion, as a claim
	Holds func(*Report) error // what does not hold, or nil
}

// run is a run under way.
type run struct {
	cfg    RunConfig
	sys    *System
	loader *loader
	report *Report
	stop   context.CancelCauseFunc // cuts the run short

	planned int            // how many strikes the plan has
	landing sync.WaitGroup // faults that are to come, or on their way
	lasting sync.WaitGroup // faults that are to be healed
	mu      sync.Mutex     // guards report.Faults and what they point at, and phaseName
	current string         // guarded by mu: the phase
}

// Run executes a plan on a system that it opens and closes, under load. It blocks until
// all that it began has ended, also if ctx ends, which cuts the run short: what is harmed is
// healed, calls under way are given up, and the pool is shut down. An injector that does not
// return although its context has ended is waited for. The error says what could not be
// done at all; what went wrong with the pool is in the Report.
//
// Run looks at all children, descriptors and goroutines of this process, so that on the
// process layer nobody else may make any meanwhile.
func Run(ctx context.Context, cfg RunConfig) (*Report, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	left := cfg.System.takeStock()
	sys, err := Open(cfg.System)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &run{cfg: cfg, sys: sys, report: newReport(&cfg), stop: stop}
	r.loader = newLoader(ctx, sys, cfg.Load, cfg.Plan.Seed)
	sys.burst = r.loader.burst
	guard := r.watch()
	r.execute(ctx)
	r.report.closing = sys.now()
	r.close(ctx)
	guard()
	for _, text := range left.behind(sys) {
		r.report.find("I13: left behind: %s", text)
	}
	r.conclude()
	return r.report, nil
}

func (cfg RunConfig) withDefaults() RunConfig {
	if cfg.Kit == nil {
		cfg.Kit = Standard()
	}
	for _, d := range []struct {
		value     *time.Duration
		otherwise time.Duration
	}{
		{&cfg.Before, time.Second},
		{&cfg.After, time.Second},
		{&cfg.LandWithin, 5 * time.Second},
		{&cfg.RecoverWithin, 30 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.otherwise
		}
	}
	cfg.Load = cfg.Load.withDefaults()
	cfg.Limits = cfg.Limits.withDefaults()
	return cfg
}

// check reports every complaint about a configuration.
func (cfg *RunConfig) check() error {
	var errs []error
	errs = append(errs, cfg.Load.complaints()...)
	if err := cfg.Plan.Check(); err != nil {
		errs = append(errs, err)
	}
	for i, f := range cfg.Plan.Faults {
		if cfg.Kit[f.Kind] == nil {
			errs = append(errs, fmt.Errorf("faults: Plan.Faults[%d].Kind is %q; want one of %q", i, f.Kind, cfg.Kit.Kinds()))
		}
	}
	errs = append(errs, cfg.Limits.refusals(cfg)...)
	return errors.Join(errs...)
}

// say reports progress.
func (r *run) say(format string, args ...any) {
	if r.cfg.Progress != nil {
		r.cfg.Progress(fmt.Sprintf(format, args...))
	}
}

// execute goes through the phases of a run.
func (r *run) execute(ctx context.Context) {
	defer func() {
		if ctx.Err() != nil {
			r.report.find("the run was cut short: %v", context.Cause(ctx))
		}
		r.drain()
	}()
	if err := r.warm(ctx); err != nil {
		r.report.find("capacity was not there before any harm: %v", err)
		return
	}
	r.report.Start = r.sys.startTime()
	if !r.before(ctx) {
		return
	}
	span := r.cfg.Plan.Span()
	r.phase("harm", func() {
		heal := r.harm(ctx)
		r.loader.run(ctx, r.cfg.Load.ramp(span))
		heal()
	})
	if ctx.Err() == nil {
		r.recover(ctx)
	}
}

// settling bounds how often `before` is prolonged.
const settling = 5

// before loads the system without harm until the load is steady: until calls are answered
// as fast as they come. It reports whether harm may begin.
func (r *run) before(ctx context.Context) (steady bool) {
	r.phase("before", func() {
		for range settling {
			r.loader.run(ctx, r.cfg.Load.level(r.cfg.Before))
			if steady = r.loader.steady(); steady || ctx.Err() != nil {
				break
			}
		}
		r.weigh(&r.report.Memory.Before)
	})
	if !steady && ctx.Err() == nil {
		r.report.find("the load did not become steady without harm: %d calls were under way", r.loader.flight.Load())
	}
	return steady && ctx.Err() == nil
}

// warm has the pool start as many workers as it may.
func (r *run) warm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RecoverWithin)
	defer cancel()
	leases, err := r.takeAll(ctx)
	for _, l := range leases {
		l.Release()
	}
	if err != nil {
		return err
	}
	return r.sys.awaitCapacity(ctx, r.sys.size)
}

// takeAll leases all workers at once.
func (r *run) takeAll(ctx context.Context) (leases []lease, err error) {
	type outcome struct {
		lease lease
		err   error
	}
	outcomes := make(chan outcome)
	for range r.sys.size {
		go func() {
			l, err := r.sys.front.acquire(ctx, "")
			outcomes <- outcome{l, err}
		}()
	}
	for range r.sys.size {
		if o := <-outcomes; o.err != nil {
			err = errors.Join(err, o.err)
		} else {
			leases = append(leases, o.lease)
		}
	}
	return leases, err
}

// phase notes when a phase began and ended.
func (r *run) phase(name string, do func()) {
	r.say("%s", name)
	r.mu.Lock()
	r.current = name
	r.mu.Unlock()
	p := PhaseReport{Name: name, From: r.sys.now(), first: r.loader.begun()}
	do()
	p.To, p.last = r.sys.now(), r.loader.begun()
	r.report.Phases = append(r.report.Phases, p)
}

// drain waits until every call is answered, which each is soon after its time is over.
func (r *run) drain() {
	if unanswered := r.loader.drain(answerWithin); unanswered > 0 {
		r.report.find("I4: %d calls were not answered %v after their time was over", unanswered, answerWithin)
	}
}

// answerWithin bounds how late the answer of a call may be whose time is over.
const answerWithin = 20 * time.Second

// conclude judges the run once all is closed.
func (r *run) conclude() {
	r.report.History = r.sys.front.History()
	if r.cfg.Dir != "" {
		name := filepath.Join(r.cfg.Dir, HistoryFile)
		if err := linearize.WriteFile(name, r.report.History); err != nil {
			r.report.find("the history could not be written: %v", err)
		}
	}
	r.report.finish(r)
}
