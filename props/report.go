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
}

// Reporter is told how a verification goes, by one goroutine at a time.
type Reporter interface {
	// Progress is called after each check.
	Progress(machine, subtest string, done, asked int)
	// Result is called at the end of each subtest.
	Result(Result)
}
