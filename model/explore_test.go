package model

import (
	"strings"
	"testing"
)

// TestExplore explores small pools completely, each with other features. The first is the
// demonstration: two workers, two sessions, three clients, and everything that can go
// wrong with workers, starts, sizes, sessions and shutdown.
func TestExplore(t *testing.T) {
	base := Config{
		MaxSize: 2, Clients: 3, Sessions: 2,
		SessionTTL: 2, BackoffMin: 1, BackoffMax: 2, StartTimeout: 2, StopTimeout: 2, AcquireTimeout: 2,
		Offer: OfferAll(Size{0, 1}, Size{0, 2}, Size{1, 2}, Size{2, 2}),
	}
	small := Config{MaxSize: 2, Clients: 3, Sessions: 2, SessionTTL: 2, BackoffMin: 1, Offer: OfferAll()}
	tests := []struct {
		name string
		set  func(c *Config)
	}{
		{"strict", func(c *Config) { *c = base }},
		{"sticky", func(c *Config) { *c = base; c.Affinity = Sticky }},
		{"prefer", func(c *Config) { *c = base; c.Affinity = Prefer }},
		{"checks", func(c *Config) { c.HasCheck, c.HealthCheckPeriod, c.HealthCheckFailures = true, 2, 2 }},
		{"telling", func(c *Config) { c.HasTell, c.HealthCheckFailures = true, 2 }},
		{"telling prefer", func(c *Config) { c.HasTell, c.HealthCheckFailures, c.Affinity = true, 2, Prefer }},
		{"checks and telling", func(c *Config) {
			c.HasCheck, c.HealthCheckPeriod, c.HasTell = true, 2, true
			c.Offer.Retires, c.Offer.FailingStarts, c.Offer.Force = false, false, false
		}},
		{"leases", func(c *Config) { c.MaxLeases = 2 }},
		{"leases prefer", func(c *Config) { c.MaxLeases, c.Affinity = 2, Prefer }},
		{"lifetime", func(c *Config) { c.MaxLifetime = 3 }},
		{"lifetime sticky", func(c *Config) { c.MaxLifetime, c.Affinity = 3, Sticky }},
		{"idle time", func(c *Config) { c.MaxIdleTime, c.IdleSlack, c.MinSize = 2, 1, 1 }},
		{"queue limit", func(c *Config) { c.MaxWaiters, c.Clients, c.AcquireTimeout = 1, 4, 2 }},
		{"session limits", func(c *Config) { c.MaxSessions, c.MaxSessionsPerWorker, c.Sessions = 3, 1, 4 }},
		{"session limits prefer", func(c *Config) {
			c.MaxSessionsPerWorker, c.Sessions, c.Affinity = 2, 3, Prefer
		}},
		{"everything", func(c *Config) {
			c.Clients, c.Sessions, c.MaxWaiters, c.MaxSessions = 2, 1, 1, 1
			c.HasCheck, c.HealthCheckPeriod, c.HasTell, c.MaxIdleTime, c.MaxLeases = true, 2, true, 2, 2
			c.StopTimeout, c.AcquireTimeout, c.Affinity = 1, 1, Sticky
		}},
		{"three workers", func(c *Config) {
			c.MaxSize, c.StartConcurrency, c.Sessions = 3, 2, 2
			c.Offer.Unusable, c.Offer.Discards = false, false
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := small
			test.set(&cfg)
			r, err := Explore(&cfg, Bounds{})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r)
			if r.Counterexample != nil || r.BoundHit {
				t.Error("want no counterexample and no bound hit")
			}
		})
	}
}

// TestExploreFindsFaults plants faults and demands that each is found, with a shortest
// counterexample.
func TestExploreFindsFaults(t *testing.T) {
	small := Config{MaxSize: 2, Clients: 2, Sessions: 2, BackoffMin: 1, Offer: OfferAll()}
	tests := []struct {
		name  string
		fault fault
		set   func(c *Config)
		rule  string
		ops   int // of the counterexample
	}{
		{"the queue has no limit", faultUnboundedQueue, func(c *Config) { c.MaxSize, c.MaxWaiters, c.Clients = 1, 1, 3 }, "I7", 3},
		{"the release of a revoked lease frees a slot", faultRevokedRelease, nil, "I11", 4},
		{"a retired worker goes on", faultRetiredServes, nil, "I16", 4},
		{"a lost session is bound again", faultLostRebinds, nil, "I8", 3},
		{"waiters of a lost session are not told", faultLostStuck, nil, "I8", 4},
		{"a start too many", faultStartBeyond, func(c *Config) { c.MaxSize = 1 }, "I2", 2},
		{"all idle workers are checked at once", faultCheckAll, func(c *Config) {
			c.MinSize, c.HasCheck, c.HealthCheckPeriod = 2, true, 1
		}, "I12", 3},
		{"no start begins", faultNoStart, nil, "I5", 1},
		{"a worker outlives its limit", faultPastServes, func(c *Config) { c.MaxLeases = 1 }, "I17", 3},
		{"closing forgets the waiters", faultCloseStrands, nil, "I13", 2},
		{"a bound waiter is passed over", faultBoundStuck, nil, "I5", 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := small
			if test.set != nil {
				test.set(&cfg)
			}
			cfg.fault = test.fault
			r, err := Explore(&cfg, Bounds{})
			if err != nil {
				t.Fatal(err)
			}
			c := r.Counterexample
			if c == nil {
				t.Fatal("no counterexample is found")
			}
			if got := len(c.Script) - 1; got != test.ops || !strings.HasPrefix(c.Err.Error(), test.rule+":") {
				t.Errorf("got %d operations, want %d; got %v, want %s; counterexample:\n%v", got, test.ops, c.Err, test.rule, c)
			}
		})
	}
}

// TestExploreFindsStuckWaiters plants a fault that no state shows by itself: only the
// search for progress sees that some waiters are never served.
func TestExploreFindsStuckWaiters(t *testing.T) {
	cfg := &Config{MaxSize: 1, Clients: 2, BackoffMin: 1, Offer: OfferAll(), fault: faultNoProbe}
	r, err := Explore(cfg, Bounds{})
	if err != nil {
		t.Fatal(err)
	}
	c := r.Counterexample
	if c == nil {
		t.Fatal("no counterexample is found")
	}
	const want = `new
----

acquire client=1
----
worker 1 start begun

start fails worker=1
----
client 1 refused: start failed

tick
----

acquire client=1
----

I5: with 1 waiting, releases, hooks and time cannot bring the pool to rest`
	if got := c.String(); got != want || r.Progress == 0 {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestExploreBounds(t *testing.T) {
	cfg := &Config{MaxSize: 2, Clients: 3, Sessions: 2, Offer: OfferAll()}
	for _, bounds := range []Bounds{{MaxStates: 100}, {MaxDepth: 3}} {
		r, err := Explore(cfg, bounds)
		if err != nil {
			t.Fatal(err)
		}
		if !r.BoundHit || r.Progress != 0 || r.Depth > 8 || r.States > 200 {
			t.Errorf("%+v: got %v, want a bound hit", bounds, r)
		}
	}
	if _, err := Explore(&Config{MaxSize: 9}, Bounds{}); err == nil {
		t.Error("got no error for an impossible configuration")
	}
}
