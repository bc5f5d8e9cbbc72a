package model

import (
	"strings"
	"testing"
)

// TestCheckFindsBrokenStates corrupts sound states, each in one way.
func TestCheckFindsBrokenStates(t *testing.T) {
	plain := Config{MaxSize: 2, Clients: 3, Sessions: 2, SessionTTL: 2, BackoffMin: 1}
	held := []string{"acquire client=1 session=a", "start ok worker=1"}
	unused := append(held[:2:2], "release client=1")
	tests := []struct {
		rule   string
		script []string
		spoil  func(c *Config, s *State)
	}{
		{"I1", held, func(_ *Config, s *State) { s.clients[1] = s.clients[0] }},
		{"I1", held, func(_ *Config, s *State) { s.clients[0] = client{} }},
		{"I3", unused, func(_ *Config, s *State) { s.clients[0].phase = clientHolding }},
		{"I2", []string{"acquire client=1", "acquire client=2"}, func(c *Config, _ *State) { c.StartConcurrency = 1 }},
		{"I5", unused, func(_ *Config, s *State) { s.least = 2 }},
		{"I5", unused, func(_ *Config, s *State) {
			s.clients[1].phase, s.queue[0], s.waiting = clientWaiting, 1, 1
		}},
		{"I8", held, func(_ *Config, s *State) { s.sessions[0].worker = 1 }},
		{"I8", held, func(_ *Config, s *State) { s.workers[0].bindings = 2 }},
		{"I8", unused, func(c *Config, s *State) { c.Affinity = Sticky; s.sessions[1].status = sessionLost }},
		{"I9", held, func(_ *Config, s *State) { s.sessions[1].status = sessionUnbound }},
		{"I9", held, func(_ *Config, s *State) { s.sessions[0].ttl = 1 }},
		{"I9", unused, func(_ *Config, s *State) { s.sessions[0].ttl = 0 }},
		{"I9", unused, func(_ *Config, s *State) { s.workers[0].debts = 1 }},
		{"I12", unused, func(_ *Config, s *State) { s.workers[0].failures = 1 }},
		{"I13", []string{"acquire client=1", "start ok worker=1", "close"}, func(_ *Config, s *State) { s.sessions[0].status = sessionLost }},
		{"I13", []string{"acquire client=1", "start ok worker=1", "close"}, func(_ *Config, s *State) { s.closing = closingReturns }},
		{"I13", []string{"close"}, func(_ *Config, s *State) { s.closing = closingBegun }},
		{"I16", unused, func(_ *Config, s *State) { s.most = 0 }},
		{"I16", unused, func(_ *Config, s *State) { s.workers[0].flags = flagRetired }},
		{"I17", []string{"acquire client=1", "start ok worker=1", "release client=1"}, func(c *Config, _ *State) { c.MaxLifetime = 1 }},
		{"I18", held, func(c *Config, s *State) {
			c.MaxSessionsPerWorker = 1
			s.sessions[1], s.workers[0].bindings = session{status: sessionBound, ttl: 1}, 2
		}},
	}
	for i, test := range tests {
		cfg := plain
		s := follow(t, &cfg, test.script...)[0]
		if err := Check(&cfg, &s); err != nil {
			t.Fatalf("case %d: before it is spoilt: %v", i, err)
		}
		test.spoil(&cfg, &s)
		if err := Check(&cfg, &s); err == nil || !strings.HasPrefix(err.Error(), test.rule+":") {
			t.Errorf("case %d: got %v, want %s; state: %v", i, err, test.rule, &s)
		}
	}
}
