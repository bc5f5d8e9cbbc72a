package props

import "time"

// Result is what a subtest of [Verify] or [VerifyPool] did and found.
type Result struct {
	Machine    string        `json:"machine"` // "generic" or "full"
	Subtest    string        `json:"subtest"`
	Asked      int           `json:"asked"`    // checks
	Executed   int           `json:"executed"` // checks that ran to their end
	Operations int           `json:"operations"`
	Reached    int           `json:"reached"`  // pairs of abstract state and operation; see model.Coverage
	Existing   int           `json:"existing"` // of which there are so many; 0: not counted
	Failed     bool          `json:"failed"`
	Elapsed    time.Duration `json:"elapsed"`

	// Of the generic machine alone.
	RealTime  bool   `json:"real_time,omitempty"` // runs took place in real time, one for twenty checks
	Mixed     bool   `json:"mixed,omitempty"`     // only runs in which hooks wait took place in real time
	Known     int    `json:"known,omitempty"`     // runs that were cut short by what is known, see Target.Known
	Unchecked string `json:"unchecked,omitempty"` // what could not be checked

	// Instrumented says of Scheduled that the pool has points of its own.
	Instrumented bool `json:"instrumented,omitempty"`

	Broken *Broken `json:"broken,omitempty"`
}

// Broken is a promise that a target broke, as [Verify] found it.
type Broken struct {
	Rule   string        `json:"rule"` // one of I1 to I18, or a name
	Text   string        `json:"text"`
	Script string        `json:"script"` // as short as it became
	Stacks string        `json:"stacks,omitempty"`
	Lines  int           `json:"lines"` // of the script
	Seen   int           `json:"seen"`  // replays that showed it
	Tried  int           `json:"tried"` // replays
	Checks int           `json:"checks"`
	After  time.Duration `json:"after"` // from the beginning of the subtest, without shrinking
}

// Reporter is told how a verification goes, by one goroutine at a time.
type Reporter interface {
	// Progress is called after each check.
	Progress(machine, subtest string, done, asked int)
	// Result is called at the end of each subtest.
	Result(Result)
}
