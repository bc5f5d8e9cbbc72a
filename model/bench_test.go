package model

import "testing"

func benchmarkExplore(b *testing.B, cfg *Config, bounds Bounds) {
	b.ReportAllocs()
	var states, transitions int
	for b.Loop() {
		r, err := Explore(cfg, bounds)
		if err != nil || r.Counterexample != nil {
			b.Fatal(err, r)
		}
		states += r.States
		transitions += r.Transitions
	}
	b.ReportMetric(float64(states)/b.Elapsed().Seconds()/1e6, "Mstates/s")
	b.ReportMetric(float64(transitions)/b.Elapsed().Seconds()/1e6, "Mtransitions/s")
}

// plainConfig is like the model that SPIN was measured with: no time, no back-off.
func plainConfig(workers, sessions, clients int) *Config {
	return &Config{
		MinSize: workers, MaxSize: workers, Clients: clients, Sessions: sessions,
		Offer: Offer{Cancels: true, Retires: true, EndSessions: true, FailingStarts: true, Close: true},
	}
}

func fullConfig(a Affinity, clients int) *Config {
	return &Config{
		MaxSize: 2, Clients: clients, Sessions: 2, SessionTTL: 2, BackoffMin: 1, BackoffMax: 2, StopTimeout: 2,
		Affinity: a, Offer: OfferAll(Size{0, 1}, Size{1, 2}),
	}
}

func BenchmarkExplore(b *testing.B) {
	b.Run("anchor", func(b *testing.B) { benchmarkExplore(b, plainConfig(2, 2, 3), Bounds{}) })
	b.Run("plain", func(b *testing.B) { benchmarkExplore(b, plainConfig(3, 3, 5), Bounds{}) })
	b.Run("strict", func(b *testing.B) { benchmarkExplore(b, fullConfig(Strict, 5), Bounds{}) })
	b.Run("prefer", func(b *testing.B) { benchmarkExplore(b, fullConfig(Prefer, 4), Bounds{}) })
}
