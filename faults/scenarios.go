package faults

import (
	"slices"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// scenarioSize is how many workers the scenarios have.
const scenarioSize = 5

// Scenarios returns the scenarios, in the order in which a suite runs them. The caller owns
// the result.
func Scenarios() []Scenario {
	return slices.Concat(crashes(), corruptions(), hindrances(), outages(), mixtures())
}

// sized returns the configuration of the scenarios' pools, which keep all workers started.
func sized(affinity pool.Affinity) pool.Config[Worker] {
	return pool.Config[Worker]{
		MinSize: scenarioSize, MaxSize: scenarioSize, StartConcurrency: scenarioSize, Affinity: affinity,
		StartBackoff: pool.Backoff{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond},
		StartTimeout: 5 * time.Second, StopTimeout: 5 * time.Second,
		HealthCheckPeriod: 250 * time.Millisecond, HealthCheckTimeout: 250 * time.Millisecond,
	}
}

// scenario fills in what most scenarios have in common.
func scenario(name, does string, affinity pool.Affinity, load Load, plan []Planned, criteria ...Criterion) Scenario {
	if load.Timeout == 0 {
		load.Timeout = 2 * time.Second
	}
	return Scenario{
		Name: name, Does: does, Plan: Plan{Name: name, Faults: plan}, Load: load, Pool: sized(affinity),
		Before: 3 * time.Second, After: 3 * time.Second, Criteria: criteria,
	}
}

// The loads of the scenarios.
func usual() Load { return Load{Rate: 200, Sessions: 10, SessionShare: 0.3} }

// impatient is a load for workers that do not answer: its calls give up before the harm is over.
func impatient(l Load) Load {
	l.Timeout = time.Second
	return l
}

func fast() Load { return Load{Rate: 500, Sessions: 10, SessionShare: 0.2} }

func sessionHeavy() Load                   { return Load{Rate: 400, Sessions: 50, SessionShare: 0.9} }
func every(d, from, to time.Duration) When { return When{From: from, To: to, Every: d} }
func at(from time.Duration) When           { return When{From: from} }

// crashes are scenarios of workers that die.
func crashes() []Scenario {
	share := Who{Aim: AtShare, Share: 0.6}
	return []Scenario{
		scenario("worker-crash", "Kills one worker after the other.", pool.Strict, usual(),
			[]Planned{{Kind: "kill", When: every(2*time.Second, time.Second, 15*time.Second)}},
			allLanded("kill", 1), noticed("kill")),
		scenario("crash-60-percent", "Kills three of five workers at once, twice, at 500 calls a second.", pool.Strict, fast(),
			[]Planned{{Kind: "kill", When: at(2 * time.Second), Who: share}, {Kind: "kill", When: at(12 * time.Second), Who: share}},
			allLanded("kill", 3), noticed("kill"), recoversWithin("kill", time.Second)),
		scenario("crash-storm", "Kills two of five workers again and again, so that each place loses many.", pool.Sticky, usual(),
			[]Planned{{Kind: "kill", When: every(time.Second, 0, 20*time.Second), Who: Who{Aim: AtShare, Share: 0.4}}},
			allLanded("kill", 1)),
		scenario("cascade", "Kills workers whose replacements then fail to start.", pool.Strict, usual(),
			[]Planned{
				{Kind: "start-exit", Options: Options{"n": "3"}, When: at(2 * time.Second), Who: Who{Aim: AtStarts}},
				{Kind: "kill", When: at(2100 * time.Millisecond), Who: Who{Aim: AtShare, Share: 0.4}},
				{Kind: "start-exit", Options: Options{"n": "5"}, When: at(10 * time.Second), Who: Who{Aim: AtStarts}},
				{Kind: "kill", When: at(10100 * time.Millisecond), Who: share},
			},
			allLanded("kill", 2), allLanded("start-exit", 1)),
		scenario("crash-at-500", "Kills one worker after the other at 500 calls a second.", pool.Strict, fast(),
			[]Planned{{Kind: "kill", When: every(2*time.Second, time.Second, 15*time.Second)}},
			allLanded("kill", 1), noticed("kill")),
	}
}

// corruptions are scenarios of the session table. Their faults harm no worker, so that no
// capacity is lost: a session whose binding is found corrupt is told ErrSessionLost, which
// counts as an error, and at most 5 of 100 calls may have one.
func corruptions() []Scenario {
	swap := Planned{Kind: "swap-bindings", When: every(time.Second, time.Second, 15*time.Second), Who: Who{Aim: AtPool}}
	dead := []Planned{
		{Kind: "kill", When: at(4 * time.Second)},
		{Kind: "bind-dead", When: every(2*time.Second, 5*time.Second, 15*time.Second), Who: Who{Aim: AtPool}},
	}
	return []Scenario{
		scenario("corrupt-sessions", "Swaps bindings of sessions, and points some to a dead worker.", pool.Strict, usual(),
			append([]Planned{swap}, dead...), allLanded("swap-bindings", 1), allLanded("bind-dead", 1), some(Lost)),
		scenario("corrupt-sessions-heavy", "Does so where nine of ten calls are for one of fifty sessions.", pool.Strict, sessionHeavy(),
			append([]Planned{swap}, dead...), allLanded("swap-bindings", 1), allLanded("bind-dead", 1), some(Lost)),
	}
}

// hindrances are scenarios of workers that live and do not serve.
func hindrances() []Scenario {
	exhaust := scenario("exhaust", "Takes memory, descriptors and the places of the queue, bit by bit.", pool.Sticky, usual(),
		[]Planned{
			{Kind: "hog", Options: Options{"bytes": "33554432"}, When: every(2*time.Second, time.Second, 5*time.Second)},
			{Kind: "descriptors", When: every(3*time.Second, 6*time.Second, 12*time.Second), For: 2 * time.Second},
			{Kind: "burst", Options: Options{"n": "90"}, When: at(15 * time.Second), Who: Who{Aim: AtPool}},
		},
		allLanded("hog", 1), allLanded("descriptors", 1), allLanded("burst", 1), some(Saturated))
	exhaust.Pool.MaxWaiters = 50
	exhaust.Load.Work = 5 * time.Millisecond
	to, from := Options{"direction": "to"}, Options{"direction": "from"}
	return []Scenario{
		exhaust,
		scenario("partition", "Cuts a worker off from its host, first one way, then the other, then both.", pool.Sticky, impatient(usual()),
			[]Planned{
				{Kind: "partition", Options: to, When: at(time.Second), For: 3 * time.Second},
				{Kind: "partition", Options: from, When: at(6 * time.Second), For: 3 * time.Second},
				{Kind: "partition", Options: Options{"direction": "both"}, When: at(11 * time.Second), For: 3 * time.Second},
			}, allLanded("partition", 1), noticed("partition")),
		scenario("partition-sustained", "Cuts workers off one after the other, each for long.", pool.Sticky, impatient(fast()),
			[]Planned{{Kind: "partition", Options: Options{"direction": "both"}, When: every(4*time.Second, time.Second, 17*time.Second), For: 8 * time.Second}},
			allLanded("partition", 1), noticed("partition")),
		scenario("slow-and-stuck", "Delays the answers of one worker and stops another one.", pool.Sticky, impatient(usual()),
			[]Planned{
				{Kind: "delay", Options: Options{"d": "20ms"}, When: at(time.Second), For: 5 * time.Second},
				{Kind: "stop", When: every(5*time.Second, 3*time.Second, 13*time.Second), For: 3 * time.Second},
			}, allLanded("delay", 1), allLanded("stop", 1), noticed("stop")),
	}
}

// outages are scenarios of starts that fail.
func outages() []Scenario {
	ramp := usual()
	ramp.Rise = 300
	starts := Who{Aim: AtStarts}
	return []Scenario{
		scenario("start-outage", "Lets no worker start for a while, and kills two meanwhile.", pool.Strict, usual(),
			[]Planned{
				{Kind: "start-exit", Options: Options{"n": "0"}, When: at(time.Second), Who: starts, For: 8 * time.Second},
				{Kind: "kill", When: at(2 * time.Second), Who: Who{Aim: AtShare, Share: 0.4}},
			}, allLanded("kill", 2), allLanded("start-exit", 1)),
		scenario("start-failure-in-ramp", "Lets starts fail, hang and be slow while the load rises.", pool.Strict, ramp,
			[]Planned{
				{Kind: "start-exit", Options: Options{"n": "2"}, When: at(time.Second), Who: starts},
				{Kind: "kill", When: at(1100 * time.Millisecond)},
				{Kind: "start-hang", When: at(6 * time.Second), Who: starts, For: 4 * time.Second},
				{Kind: "kill", When: at(6100 * time.Millisecond)},
				{Kind: "start-slow", Options: Options{"delay": "500ms"}, When: at(13 * time.Second), Who: starts},
				{Kind: "kill", When: at(13100 * time.Millisecond)},
			}, allLanded("kill", 1), allLanded("start-exit", 1), allLanded("start-hang", 1), allLanded("start-slow", 1)),
	}
}

// mixtures are scenarios of several kinds of faults at once.
func mixtures() []Scenario {
	combined := []Planned{
		{Kind: "kill", When: every(3*time.Second, time.Second, 13*time.Second)},
		{Kind: "stop", When: at(2 * time.Second), For: 2 * time.Second},
		{Kind: "delay", Options: Options{"d": "10ms"}, When: at(6 * time.Second), For: 3 * time.Second},
		{Kind: "start-exit", Options: Options{"n": "1"}, When: at(9 * time.Second), Who: Who{Aim: AtStarts}},
		{Kind: "kill", When: at(9100 * time.Millisecond)},
	}
	// Disk comes first and descriptors last: a worker without descriptors cannot open the file
	// that is not to be written.
	everything := slices.Clone(combined)
	for i, kind := range []string{
		"disk", "segv", "exit-mid-frame", "flip", "truncate", "oversize", "garbage", "duplicate", "late", "wrong-id", "noise",
		"partition", "stall", "cpu", "hog", "descriptors",
	} {
		everything = append(everything, Planned{Kind: kind, When: at(time.Duration(i+1) * time.Second), For: 2 * time.Second})
	}
	for i, kind := range []string{"start-version", "start-flood"} {
		everything = append(everything, Planned{Kind: kind, When: at(time.Duration(4+8*i) * time.Second), Who: Who{Aim: AtStarts}})
	}
	everything = append(everything, Planned{Kind: "swap-bindings", When: every(5*time.Second, 2*time.Second, 17*time.Second), Who: Who{Aim: AtPool}})
	kinds := make(map[string]bool)
	var landed []Criterion
	for _, f := range everything {
		if !kinds[f.Kind] {
			kinds[f.Kind] = true
			landed = append(landed, allLanded(f.Kind, 1))
		}
	}
	return []Scenario{
		scenario("combined", "Kills, stops, delays and lets starts fail, several at once.", pool.Sticky, usual(), combined,
			allLanded("kill", 1), allLanded("stop", 1), allLanded("delay", 1), allLanded("start-exit", 1)),
		scenario("everything", "Injects every kind of fault at 500 calls a second.", pool.Sticky, fast(), everything, landed...),
	}
}
