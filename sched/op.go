package sched

// Op is what a task is about to do at a point.
type Op uint8

// The operations. Those that can change what another task sees are writes: a task that
// reaches many points without one spins.
const (
	OpLabel Op = iota // a point placed by hand, see Point
	OpStart           // the first step of a task
	OpTime            // no task: time passes
	OpWoke            // the task was blocked by something that is not a gate, and goes on
	OpYield           // runtime.Gosched
	OpRest            // see Scheduler.Rest
	OpGo
	OpTimer // a timer or a context started this task

	OpLock
	OpTryLock
	OpUnlock
	OpRLock
	OpTryRLock
	OpRUnlock
	OpOnce
	OpWait
	OpSignal
	OpBroadcast
	OpGroupAdd
	OpGroupWait
	OpPoolGet
	OpPoolPut
	OpMapRead
	OpMapWrite

	OpLoad
	OpStore
	OpAdd
	OpSwap
	OpCompareAndSwap

	OpSend
	OpReceive
	OpClose
	OpSelect
	OpSleep

	ops
)

// opInfo describes one Op.
type opInfo struct {
	text   string
	object string // what kind of thing it acts on; "" if on nothing that is numbered
	effect effect
}

// effect is how an operation bears on whether a task spins.
type effect uint8

const (
	reads   effect = iota // changes nothing by itself
	unlocks               // whatever the lock guards may have changed
	writes                // changes something, or is a step of the program itself
)

func (o Op) info() opInfo {
	// A table by value: there is no package-level state to share.
	return [ops]opInfo{
		OpLabel: {"", "", writes},
		OpStart: {"starts", "", writes},
		OpTime:  {"time passes", "", writes},
		OpWoke:  {"goes on after", "", writes},
		OpYield: {"Gosched", "", reads},
		OpRest:  {"rests", "", writes},
		OpGo:    {"go", "", writes},
		OpTimer: {"is started by a timer or context", "", writes},

		OpLock:      {"Lock", "mutex", reads},
		OpTryLock:   {"TryLock", "mutex", reads},
		OpUnlock:    {"Unlock", "mutex", unlocks},
		OpRLock:     {"RLock", "mutex", reads},
		OpTryRLock:  {"TryRLock", "mutex", reads},
		OpRUnlock:   {"RUnlock", "mutex", reads},
		OpOnce:      {"Do", "once", writes},
		OpWait:      {"Wait", "cond", writes},
		OpSignal:    {"Signal", "cond", writes},
		OpBroadcast: {"Broadcast", "cond", writes},
		OpGroupAdd:  {"Add", "group", writes},
		OpGroupWait: {"Wait", "group", reads},
		OpPoolGet:   {"Get", "pool", writes},
		OpPoolPut:   {"Put", "pool", writes},
		OpMapRead:   {"read", "map", reads},
		OpMapWrite:  {"write", "map", writes},

		OpLoad:           {"Load", "atomic", reads},
		OpStore:          {"Store", "atomic", writes},
		OpAdd:            {"Add", "atomic", writes},
		OpSwap:           {"Swap", "atomic", writes},
		OpCompareAndSwap: {"CompareAndSwap", "atomic", reads},

		OpSend:    {"send", "channel", writes},
		OpReceive: {"receive", "channel", writes},
		OpClose:   {"close", "channel", writes},
		OpSelect:  {"select", "", reads},
		OpSleep:   {"Sleep", "", writes},
	}[o]
}

// String returns the operation's name as traces show it.
func (o Op) String() string {
	if o >= ops {
		return "unknown operation"
	}
	if o == OpLabel {
		return "point"
	}
	return o.info().text
}
