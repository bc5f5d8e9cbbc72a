package main

import (
	"time"

	"github.com/poolproof/poolproof/faults"
)

// scenarioCases returns all scenarios, in the order in which they are run.
func scenarioCases() []chaosCase {
	return []chaosCase{
		killCase("worker-crash", "One worker at a time is killed.", faults.Planned{
			When: faults.When{From: time.Second, To: 10 * time.Second, Every: time.Second},
		}),
		killCase("crash-60-percent", "Three of five workers are killed at once, during operation.", faults.Planned{
			When: faults.When{From: time.Second, To: 10 * time.Second, Every: 3 * time.Second},
			Who:  faults.Who{Aim: faults.AtShare, Share: 0.6},
		}),
	}
}

// killCase kills workers under a load that leaves some capacity unused.
func killCase(name, about string, kill faults.Planned) chaosCase {
	kill.Kind = "kill"
	return chaosCase{
		name: name, about: about,
		unfit: func(*chaosWorkers) string { return "" },
		config: func(w *chaosWorkers, scale float64, seed uint64) faults.RunConfig {
			scaled := func(d time.Duration) time.Duration { return time.Duration(scale * float64(d)) }
			f := kill
			f.When = faults.When{From: scaled(kill.When.From), To: scaled(kill.When.To), Every: kill.When.Every}
			return faults.RunConfig{
				System: w.system(name, chaosSize), Plan: faults.Plan{Name: name, Seed: seed, Faults: []faults.Planned{f}},
				Load: faults.Load{Rate: 200, Sessions: 20, SessionShare: 0.1},
			}
		},
	}
}

func scenarioNames() []string {
	var names []string
	for _, c := range scenarioCases() {
		names = append(names, c.name)
	}
	return names
}
