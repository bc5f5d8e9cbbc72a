package props

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// agePool hands out what was given back last, unless it is older than its life, if it is
// careful. If it is untidy, a goroutine outlives its Close.
type agePool struct {
	env             *Env
	life            time.Duration
	careful, untidy bool
	slots           chan struct{}
	done            chan struct{} // closed with the pool

	mu   sync.Mutex
	idle []*agedLease // guarded by mu; nil once closed
}

type agedLease struct {
	pool *agePool
	res  *Resource
	born time.Time
}

func ageTarget(name string, life, slack time.Duration, careful, untidy bool) Target {
	return Target{
		Name: name, Capacity: 2, Spec: Spec{Lifetime: life, Slack: slack},
		Outcome: func(err error) Outcome {
			if err == errTinyClosed {
				return Closed
			}
			return DefaultOutcome(err)
		},
		Open: func(env *Env) (Pool, error) {
			return &agePool{
				env: env, life: life, careful: careful, untidy: untidy,
				slots: make(chan struct{}, 2), done: make(chan struct{}), idle: []*agedLease{},
			}, nil
		},
	}
}

func (p *agePool) Acquire(ctx context.Context) (Lease, error) {
	select {
	case <-p.done:
		return nil, errTinyClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.done:
		return nil, errTinyClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		l, closed := p.take()
		switch {
		case closed:
			<-p.slots
			return nil, errTinyClosed
		case l == nil:
			r, err := p.env.Create(ctx)
			if err != nil {
				<-p.slots
				return nil, err
			}
			return &agedLease{p, r, time.Now()}, nil
		case p.careful && time.Since(l.born) > p.life:
			p.env.Destroy(l.res)
		default:
			return &agedLease{p, l.res, l.born}, nil
		}
	}
}

// take takes what is idle; nil if nothing is.
func (p *agePool) take() (l *agedLease, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil, p.idle == nil
	}
	l = p.idle[n-1]
	p.idle = p.idle[:n-1]
	return l, false
}

func (p *agePool) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	close(p.done)
	for _, l := range idle {
		p.env.Destroy(l.res)
	}
	if p.untidy {
		go func() { <-make(chan struct{}) }()
	}
	return nil
}

func (l *agedLease) Resource() *Resource { return l.res }

func (l *agedLease) Release() {
	p := l.pool
	p.mu.Lock()
	kept := p.idle != nil
	if kept {
		p.idle = append(p.idle, l)
	}
	p.mu.Unlock()
	if !kept {
		p.env.Destroy(l.res)
	}
	<-p.slots
}

// A pool that looks at the age of what it grants passes; one that does not is found, in few
// lines. So is one of which a goroutine is left.
func TestAgesAndLeftovers(t *testing.T) {
	t.Run("careful", func(t *testing.T) { Verify(t, ageTarget("careful", time.Minute, time.Millisecond, true, false)) })
	for _, c := range []struct {
		target Target
		rule   string
		text   string
		lines  int
	}{
		{ageTarget("careless", time.Minute, time.Millisecond, false, false), "I17", "past its lifetime", 4},
		{ageTarget("untidy", time.Minute, time.Millisecond, true, true), "I13", "goroutines are left after everything has ended", 0},
	} {
		f, _, checks := hunt(t, c.target, 30)
		if f == nil || f.violation.Rule != c.rule || !strings.Contains(f.violation.Text, c.text) || len(f.ops) > c.lines+1 {
			t.Errorf("%s: after %d checks got %+v; want %s, %q in at most %d lines", c.target.Name, checks, f, c.rule, c.text, c.lines+1)
		}
	}
}

// So it is in real time, where what is promised may be late by Slack.
func TestAgesInRealTime(t *testing.T) {
	script := "c1 acquire; c1 release; -- wait 200ms; c1 acquire; c1 release"
	for _, c := range []struct {
		name    string
		slack   time.Duration
		careful bool
		rule    string
	}{{"careful", 100 * time.Millisecond, true, ""}, {"careless", 100 * time.Millisecond, false, "I17"}, {"patient", time.Hour, false, ""}} {
		target := ageTarget(c.name, time.Millisecond, c.slack, c.careful, false)
		target.RealTime = true
		f, _ := newGenVerifier(t, target).run(t, replayOps(mustParse(t, script)))
		rule := ""
		if f != nil {
			rule = f.violation.Rule
		}
		if rule != c.rule {
			t.Errorf("%s: got %q, want %q", c.name, rule, c.rule)
		}
	}
}
