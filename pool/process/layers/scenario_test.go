package layers_test

import "slices"

// scenario is something that happens in the same way on every layer.
type scenario struct {
	name   string
	run    func(st *stage)
	absent map[string]string // the layers that cannot have it, and why
}

// Why a layer cannot have a scenario.
const (
	noProcess  = "there is no process"
	noOutput   = "there is no output of its own"
	noMemory   = "there is no process to share memory with"
	notAnswers = "the worker has no feature but payloads, and nothing that can be cancelled"
	noFail     = "the worker has no method that fails as it is told"
	noLarge    = "the worker has no method whose result is larger than its params"
	noNoise    = "the worker has no method that prints"
	noTypes    = "JavaScript looks at no types"
	noIntegers = "JavaScript's numbers are exact up to 2^53"
	notShared  = "the worker leaves shared memory alone"
	notStdio   = "a fork server hands over descriptors 3 and 4"
)

// scenarios returns the whole table.
func scenarios() []scenario {
	node := func(why string) map[string]string { return map[string]string{"node": why} }
	return slices.Concat(
		[]scenario{
			{"echo of all that JSON has", echo, nil},
			{"integers beyond 2^53", integers, node(noIntegers)},
			{"an error keeps the worker", errorReply, node(noFail)},
			{"an unknown method", unknownMethod, nil},
			{"params that do not fit", badParams, node(noTypes)},
			{"calls on one worker take turns", turns, nil},
			{"raw payloads", rawPayloads, nil},
			{"raw payloads in shared memory", sharedPayloads, map[string]string{
				"memory": noMemory, "wire": noMemory, "node": notShared,
			}},
			{"a request that is too large", largeRequest, nil},
			{"a result that is too large", largeResult, node(noLarge)},
			{"a batch with mixed outcomes", batch, node(notAnswers)},
			{"progress", progress, node(notAnswers)},
			{"log notifications", logs, node(notAnswers)},
			{"stray output", noise, map[string]string{"memory": noOutput, "wire": noOutput, "node": noNoise}},
			{"the channel on standard input and output", stdio, map[string]string{
				"memory": noOutput, "wire": noOutput, "fork server": notStdio,
			}},
			{"cancelling a call that can be", cancelNap, node(notAnswers)},
			{"cancelling a call that cannot be", cancelSleep, nil},
			{"cancelling from within a call", cancelSteps, node(notAnswers)},
			{"a deadline", deadline, nil},
			{"a context that has ended", doneContext, nil},
			{"a stream to its end", wholeStream, node(notAnswers)},
			{"a stream left early", leftStream, node(notAnswers)},
			{"a stream that is cancelled", cancelledStream, node(notAnswers)},
			{"a stream that fails", failedStream, node(notAnswers)},
			{"a stream whose worker dies", deadStream, node(notAnswers)},
			{"a stream with a slow consumer", slowStream, node(notAnswers)},
		},
		[]scenario{
			{"a crash in a call", crash, nil},
			{"a kill between calls", killIdle, nil},
			{"a kill between calls of a lease", killLeased, nil},
			{"how a process ended", exits, map[string]string{"memory": noProcess, "wire": noProcess}},
			{"the end of a session", sessionEnd, nil},
			{"a session's time to live", sessionTTL, nil},
			{"sessions at once", sessionsAtOnce, nil},
			{"stop while idle", stopIdle, nil},
			{"stop amid a call, by force", stopBusy, nil},
			{"stop amid a call, in good order", stopKindly, nil},
			{"order of service", order, nil},
			{"refusals of the pool", refusals, nil},
			{"recycling", recycling, nil},
			{"health checks", healthChecks, nil},
			{"starts that fail", failedStarts, nil},
		},
	)
}
