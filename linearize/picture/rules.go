package picture

// ruleTexts says each promise in a sentence, as the package comment of pool numbers them.
var ruleTexts = map[string]string{
	"I1":      "a worker has at most one lease",
	"I2":      "live workers never exceed the capacity",
	"I3":      "every started worker is stopped exactly once, and never granted after",
	"I4":      "every acquire gets exactly one outcome",
	"I5":      "no wake-up is lost: nobody waits while a worker that may serve them is idle",
	"I6":      "cancellation loses nothing",
	"I7":      "first come, first served",
	"I8":      "a session keeps to its worker, as its affinity says",
	"I9":      "a session's binding follows from history and clock alone",
	"I10":     "starts that fail do so fast, back off, probe and heal",
	"I11":     "an error in a hook affects its worker alone",
	"I12":     "health checks yield to callers",
	"I13":     "shutdown is bounded and leaves nothing behind",
	"I14":     "a lease ends once",
	"I15":     "counts add up, and changes carry numbers in their order",
	"I16":     "a resize or a retirement acts at once where it can",
	"I17":     "recycling spares sessions",
	"I18":     "sessions spread over the workers",
	"history": "a history does not contradict itself",
}

// RuleText says in a few words what the rule of a verdict promises; "" if there is no such
// rule.
func RuleText(rule string) string { return ruleTexts[rule] }
