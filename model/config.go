package model

import (
	"errors"
	"fmt"
)

// The most of each that a [State] has room for.
const (
	MaxWorkerSlots  = 4
	MaxSessionSlots = 4
	MaxClientSlots  = 6
)

// Affinity says what a session may expect of its worker.
type Affinity uint8

// The affinities, as the pool documents them.
const (
	Strict Affinity = iota
	Sticky
	Prefer
)

// String names the affinity.
func (a Affinity) String() string {
	if int(a) < len(affinityNames) {
		return affinityNames[a]
	}
	return fmt.Sprintf("Affinity(%d)", uint8(a))
}

var affinityNames = [...]string{"strict", "sticky", "prefer"}

// Size is a pair of bounds for [OpResize].
type Size struct{ Min, Max uint8 }

// Config says how the modelled pool is set up, who takes part, and what may happen.
// Durations are whole ticks. Zero means no limit, or off, unless a field says otherwise.
type Config struct {
	MinSize, MaxSize int // MaxSize is at least 1 and at most MaxWorkerSlots, as in Resizes
	MaxWaiters       int
	StartConcurrency int
	AcquireTimeout   int
	StartTimeout     int
	StopTimeout      int

	// BackoffMin and BackoffMax are the lengths that a back-off really runs: with a Rand
	// that returns 0, half of what the pool is configured with. BackoffMax zero means
	// BackoffMin; BackoffMin zero means that failed starts are repeated at once.
	BackoffMin, BackoffMax int

	HasCheck, HasTell   bool // the hooks Check and SessionEnded are set
	HealthCheckPeriod   int  // with HasCheck only
	HealthCheckFailures int  // zero means 1

	MaxIdleTime int
	IdleSlack   int // an idle worker may stop that much after MaxIdleTime
	MaxLifetime int
	MaxLeases   int

	Affinity             Affinity
	SessionTTL           int
	MaxSessions          int
	MaxSessionsPerWorker int

	Clients  int // 1 to MaxClientSlots
	Sessions int // names a, b, ... that clients use; 0 to MaxSessionSlots

	Offer Offer // what Ops offers besides acquires, releases and hooks that succeed

	fault fault // planted by tests of the explorer
}

// Offer says which operations [Ops] offers. It does not concern [Step].
type Offer struct {
	SessionsOnly  bool // no anonymous acquires and tries
	Tries         bool
	Cancels       bool
	Unusable      bool
	Discards      bool
	EndSessions   bool
	Retires       bool
	FailingStarts bool
	FailingChecks bool
	FailingTells  bool
	Close         bool
	Force         bool
	Ticks         bool
	Resizes       []Size // the bounds that Resize may set
}

// OfferAll returns an Offer of everything, with the bounds given for Resize.
func OfferAll(resizes ...Size) Offer {
	return Offer{
		Tries: true, Cancels: true, Unusable: true, Discards: true, EndSessions: true, Retires: true,
		FailingStarts: true, FailingChecks: true, FailingTells: true, Close: true, Force: true, Ticks: true,
		Resizes: resizes,
	}
}

// Validate reports everything that makes c unusable, joined; nil if nothing does.
func (c *Config) Validate() error {
	var complaints []error
	within := func(name string, v, low, high int) {
		if v < low || v > high {
			complaints = append(complaints, fmt.Errorf("model: %s is %d, want %d to %d", name, v, low, high))
		}
	}
	within("MaxSize", c.MaxSize, 1, MaxWorkerSlots)
	within("MinSize", c.MinSize, 0, c.MaxSize)
	within("Clients", c.Clients, 1, MaxClientSlots)
	within("Sessions", c.Sessions, 0, MaxSessionSlots)
	within("Affinity", int(c.Affinity), int(Strict), int(Prefer))
	for _, size := range c.Offer.Resizes {
		within("Resizes.Max", int(size.Max), 1, MaxWorkerSlots)
		within("Resizes.Min", int(size.Min), 0, int(size.Max))
	}
	for _, d := range c.durations() {
		within(d.name, d.ticks, 0, maxTicks)
	}
	within("MaxIdleTime + IdleSlack", c.MaxIdleTime+c.IdleSlack, 0, maxTicks)
	within("MaxWaiters", c.MaxWaiters, 0, maxTicks)
	within("MaxLeases", c.MaxLeases, 0, maxTicks)
	within("HealthCheckFailures", c.HealthCheckFailures, 0, maxTicks)
	return errors.Join(complaints...)
}

// maxTicks is the longest duration, and the highest count, that a State can hold.
const maxTicks = 200

type duration struct {
	name  string
	ticks int
}

func (c *Config) durations() []duration {
	return []duration{
		{"AcquireTimeout", c.AcquireTimeout},
		{"StartTimeout", c.StartTimeout},
		{"StopTimeout", c.StopTimeout},
		{"BackoffMin", c.BackoffMin},
		{"BackoffMax", c.BackoffMax},
		{"HealthCheckPeriod", c.HealthCheckPeriod},
		{"MaxIdleTime", c.MaxIdleTime},
		{"IdleSlack", c.IdleSlack},
		{"MaxLifetime", c.MaxLifetime},
		{"SessionTTL", c.SessionTTL},
	}
}

// startConcurrency is the most starts at once.
func (c *Config) startConcurrency() int {
	if c.StartConcurrency == 0 {
		return MaxWorkerSlots
	}
	return c.StartConcurrency
}

// checkFailures is the number of failures in a row that make a worker bad.
func (c *Config) checkFailures() int { return max(1, c.HealthCheckFailures) }

// checkPeriod is the time between checks; zero if there are none.
func (c *Config) checkPeriod() uint8 {
	if !c.HasCheck {
		return 0
	}
	return uint8(c.HealthCheckPeriod)
}

// nextDelay is how long a back-off runs after a failure, given how long the last one ran.
func (c *Config) nextDelay(last uint8) uint8 {
	if last == 0 {
		return uint8(c.BackoffMin)
	}
	return uint8(min(2*int(last), max(c.BackoffMin, c.BackoffMax)))
}

// maxSessions is the most sessions in the table while MaxSize is most.
func (c *Config) maxSessions(most uint8) int {
	limit := MaxSessionSlots + 1
	if c.MaxSessions > 0 {
		limit = c.MaxSessions
	}
	if c.MaxSessionsPerWorker > 0 {
		limit = min(limit, c.MaxSessionsPerWorker*int(most))
	}
	return limit
}

// slots is the most workers that can ever be live.
func (c *Config) slots() int {
	n := c.MaxSize
	for _, size := range c.Offer.Resizes {
		n = max(n, int(size.Max))
	}
	return n
}
