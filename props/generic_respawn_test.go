package props

import (
	"context"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/sched"
)

// respawnPool lends out one resource, and checks it for ever from the first lease on: whatever
// becomes of a check, be it that its goroutine ends, the next is begun in another one.
type respawnPool struct {
	env  *Env
	idle chan *Resource // nil before it has been created
}

func (p *respawnPool) check(r *Resource) {
	defer func() { go p.check(r) }()
	for range 8 { // so that the steps of a run come to an end before its hooks do
		sched.Point("works")
	}
	_ = p.env.Check(r)
}

func (p *respawnPool) Acquire(ctx context.Context) (Lease, error) {
	select {
	case r := <-p.idle:
		if r != nil {
			return respawnLease{p, r}, nil
		}
		r, err := p.env.Create(ctx)
		if err != nil {
			p.idle <- nil
			return nil, err
		}
		go p.check(r)
		return respawnLease{p, r}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *respawnPool) Close() error { return nil }

type respawnLease struct {
	p *respawnPool
	r *Resource
}

func (l respawnLease) Resource() *Resource { return l.r }
func (l respawnLease) Release()            { l.p.idle <- l.r }

func respawnTarget() Target {
	return Target{
		Name: "respawn", Capacity: 1,
		Open: func(env *Env) (Pool, error) {
			p := &respawnPool{env: env, idle: make(chan *Resource, 1)}
			p.idle <- nil
			return p, nil
		},
	}
}

// TestInChildRespawn leaves a goroutine in each bubble, so it is for a child process.
func TestInChildRespawn(t *testing.T) {
	childOnly(t)
	f := HuntTarget(t, respawnTarget(), 5)
	if f.Rule != "livelock" {
		t.Errorf("after %d checks: got %q, want a pool that does not come to rest\n%s", f.Checks, f.Rule, f.Script)
	}
	t.Logf("after %d checks: %s %s\n%s", f.Checks, f.Rule, f.Message, f.Script)
}

// A pool that starts the next goroutine whenever one is made to end is found out, and what it
// starts then is not followed for ever.
func TestScheduledEndsRespawning(t *testing.T) {
	out, _ := child(t, t.TempDir(), "^TestInChildRespawn$", "-rapid.shrinktime=1s", "-test.timeout=60s") // goleak objects
	if !strings.Contains(out, "--- PASS: TestInChildRespawn") {
		t.Errorf("the run was not bounded, or not reported:\n%.4000s", out)
	}
}
