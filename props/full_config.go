package props

import (
	"cmp"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
)

// fullForever stands for "no limit" where the pool's zero value means a default.
const fullForever = 1000 * time.Hour

// fullPoolConfig is the pool's form of a model's configuration, less the hooks. The pool's
// Rand returns 0, so that a back-off runs for half its delay.
func fullPoolConfig(cfg *model.Config, tick time.Duration) pool.Config[*FullWorker] {
	ticks := func(n int) time.Duration { return time.Duration(n) * tick }
	orForever := func(n int) time.Duration {
		if n == 0 {
			return fullForever
		}
		return ticks(n)
	}
	out := pool.Config[*FullWorker]{
		MinSize:              cfg.MinSize,
		MaxSize:              cfg.MaxSize,
		MaxWaiters:           cfg.MaxWaiters,
		AcquireTimeout:       ticks(cfg.AcquireTimeout),
		StartTimeout:         orForever(cfg.StartTimeout),
		StopTimeout:          orForever(cfg.StopTimeout),
		StartConcurrency:     cmp.Or(cfg.StartConcurrency, model.MaxWorkerSlots),
		StartBackoff:         pool.Backoff{Min: 2 * ticks(cfg.BackoffMin), Max: 2 * ticks(max(cfg.BackoffMin, cfg.BackoffMax))},
		HealthCheckTimeout:   fullForever,
		HealthCheckFailures:  cfg.HealthCheckFailures,
		MaxIdleTime:          ticks(cfg.MaxIdleTime),
		MaxLifetime:          ticks(cfg.MaxLifetime),
		MaxLeases:            cfg.MaxLeases,
		Affinity:             pool.Affinity(cfg.Affinity),
		SessionTTL:           ticks(cfg.SessionTTL),
		MaxSessions:          cfg.MaxSessions,
		MaxSessionsPerWorker: cfg.MaxSessionsPerWorker,
		Rand:                 func() float64 { return 0 },
	}
	if cfg.HasCheck {
		out.HealthCheckPeriod = ticks(cfg.HealthCheckPeriod)
	}
	return out
}

// fullDrawConfig draws a configuration; the simplest is one worker and nothing else.
func fullDrawConfig(rt *rapid.T, realTime bool) *model.Config {
	bit := rapid.Bool()
	// some draws from 1 to most, or zero as often as the odds out of 4 say.
	some := func(odds, most uint8) int {
		if fullBits(rt, bit, 2) < 4-odds {
			return 0
		}
		return 1 + int(fullBits(rt, bit, 3)%most)
	}
	cfg := &model.Config{MaxSize: 1 + int(fullBits(rt, bit, 3)%3), BackoffMin: 1, BackoffMax: 2}
	cfg.Affinity = model.Affinity(fullBits(rt, bit, 3) % 3)
	cfg.MinSize = min(some(1, 3), cfg.MaxSize)
	cfg.MaxWaiters = some(1, 2)
	cfg.StartConcurrency = some(2, 2)
	cfg.MaxSessions = some(1, 2)
	cfg.MaxSessionsPerWorker = some(1, 2)
	cfg.HasTell = fullBits(rt, bit, 1) == 1
	if realTime {
		return cfg
	}
	cfg.BackoffMin = 1 + int(fullBits(rt, bit, 1))
	cfg.BackoffMax = cfg.BackoffMin * (1 + int(fullBits(rt, bit, 2)))
	cfg.AcquireTimeout = some(1, 4)
	cfg.StartTimeout = some(1, 4)
	cfg.StopTimeout = some(2, 4)
	cfg.HealthCheckPeriod = some(2, 4)
	cfg.HasCheck = cfg.HealthCheckPeriod > 0
	cfg.HealthCheckFailures = 1 + int(fullBits(rt, bit, 1))
	cfg.MaxIdleTime = some(1, 5)
	cfg.SessionTTL = some(2, 4)
	if cfg.Affinity != model.Strict || cfg.SessionTTL > 0 {
		cfg.MaxLifetime = some(1, 7)
		cfg.MaxLeases = some(1, 4)
	}
	return cfg
}

// config returns what to verify in this check.
func (t *PoolTarget) config(rt *rapid.T) *model.Config {
	cfg := t.Config
	if cfg == nil {
		cfg = fullDrawConfig(rt, t.RealTime)
	}
	return t.complete(cfg)
}

// complete fills in what a configuration need not say.
func (t *PoolTarget) complete(cfg *model.Config) *model.Config {
	full := *cfg
	if full.Clients == 0 {
		full.Clients, full.Sessions = 3, 2
	}
	if full.MaxIdleTime > 0 {
		full.IdleSlack = (full.MaxIdleTime + 7) / 8
	}
	if full.Offer.Resizes == nil && !full.Offer.Ticks {
		full.Offer = model.OfferAll(fullSizes(full.Clients)...)
		full.Offer.Ticks = !t.RealTime
	}
	return &full
}

// fullSizes returns all bounds up to most.
func fullSizes(most int) (sizes []model.Size) {
	for n := 1; n <= most; n++ {
		for least := range n + 1 {
			sizes = append(sizes, model.Size{Min: uint8(least), Max: uint8(n)})
		}
	}
	return sizes
}

// limits bounds a run without the model.
func (t *PoolTarget) limits(cfg *model.Config) *fullLimits {
	return &fullLimits{
		sessions: cfg.Sessions, size: cfg.Clients, closing: true, realTime: t.RealTime,
		strict: cfg.Affinity == model.Strict, timeouts: cfg.AcquireTimeout > 0,
		calm: 2 + max(cfg.BackoffMin, cfg.BackoffMax) + cfg.SessionTTL,
	}
}
