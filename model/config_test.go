package model

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	good := Config{MaxSize: 2, Clients: 1}
	if err := good.Validate(); err != nil {
		t.Errorf("got %v, want no complaint", err)
	}
	tests := []struct {
		complaint string
		set       func(c *Config)
	}{
		{"MaxSize is 0", func(c *Config) { c.MaxSize = 0 }},
		{"MaxSize is 5", func(c *Config) { c.MaxSize = 5 }},
		{"MinSize is 3", func(c *Config) { c.MinSize = 3 }},
		{"Clients is 0", func(c *Config) { c.Clients = 0 }},
		{"Sessions is 5", func(c *Config) { c.Sessions = 5 }},
		{"Affinity is 3", func(c *Config) { c.Affinity = 3 }},
		{"Resizes.Max is 5", func(c *Config) { c.Offer.Resizes = []Size{{0, 5}} }},
		{"Resizes.Min is 2", func(c *Config) { c.Offer.Resizes = []Size{{2, 1}} }},
		{"SessionTTL is 201", func(c *Config) { c.SessionTTL = 201 }},
		{"IdleSlack is -1", func(c *Config) { c.IdleSlack = -1 }},
		{"MaxIdleTime + IdleSlack is 201", func(c *Config) { c.MaxIdleTime, c.IdleSlack = 200, 1 }},
		{"MaxLeases is 201", func(c *Config) { c.MaxLeases = 201 }},
	}
	for _, test := range tests {
		c := good
		test.set(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), test.complaint) {
			t.Errorf("got %v, want a complaint that %s", err, test.complaint)
		}
	}
	bad := Config{}
	if err := bad.Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("got %v, want two complaints", err)
	}
}

func TestNextDelay(t *testing.T) {
	tests := []struct {
		least, most int
		last, want  uint8
	}{
		{1, 4, 0, 1},
		{1, 4, 1, 2},
		{1, 4, 2, 4},
		{1, 4, 4, 4},
		{1, 3, 2, 3},
		{3, 0, 0, 3},
		{3, 0, 3, 3},
		{0, 4, 0, 0},
		{100, 200, 150, 200},
	}
	for _, test := range tests {
		c := &Config{BackoffMin: test.least, BackoffMax: test.most}
		if got := c.nextDelay(test.last); got != test.want {
			t.Errorf("back-off %d to %d, last %d: got %d, want %d", test.least, test.most, test.last, got, test.want)
		}
	}
}

func TestMaxSessions(t *testing.T) {
	tests := []struct {
		sessions, perWorker int
		most                uint8
		want                int
	}{
		{0, 0, 2, MaxSessionSlots + 1},
		{3, 0, 2, 3},
		{3, 1, 2, 2},
		{3, 2, 2, 3},
		{0, 1, 2, 2},
	}
	for _, test := range tests {
		c := &Config{MaxSessions: test.sessions, MaxSessionsPerWorker: test.perWorker}
		if got := c.maxSessions(test.most); got != test.want {
			t.Errorf("%+v: got %d, want %d", test, got, test.want)
		}
	}
}

func TestDebts(t *testing.T) {
	var d debts
	for id := Session(1); id <= MaxSessionSlots; id++ {
		d = d.with(id)
		if got := d.count(); got != uint8(id) || d.first() != 1 {
			t.Errorf("after %v: got %d debts, the first to %v", id, got, d.first())
		}
	}
	if d >>= 4; d.first() != 2 || d.count() != MaxSessionSlots-1 {
		t.Errorf("after the first is told: got %d debts, the first to %v", d.count(), d.first())
	}
}

func TestAffinityText(t *testing.T) {
	for a, want := range map[Affinity]string{Strict: "strict", Sticky: "sticky", Prefer: "prefer"} {
		if got := a.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
