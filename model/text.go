package model

import (
	"fmt"
	"strconv"
	"strings"
)

// opForm says how operations of a kind are written: the words, then one key=value for each
// field.
type opForm struct {
	words  string
	fields string // of "client", "session", "worker", "min" and "max"
}

// sessionOptional marks kinds whose session may be absent: anonymous ones.
const sessionOptional = "client session?"

var opForms = [...]opForm{
	OpAcquire:         {"acquire", sessionOptional},
	OpTry:             {"try", sessionOptional},
	OpCancel:          {"cancel", "client"},
	OpRelease:         {"release", "client"},
	OpReleaseUnusable: {"release unusable", "client"},
	OpDiscard:         {"discard", "client"},
	OpEndSession:      {"end", "session"},
	OpRetire:          {"retire", "worker"},
	OpResize:          {"resize", "min max"},
	OpClose:           {"close", ""},
	OpForce:           {"force", ""},
	OpStarted:         {"start ok", "worker"},
	OpStartFailed:     {"start fails", "worker"},
	OpStopped:         {"stop done", "worker"},
	OpChecked:         {"check ok", "worker"},
	OpCheckFailed:     {"check fails", "worker"},
	OpTold:            {"tell ok", "worker"},
	OpTellFailed:      {"tell fails", "worker"},
	OpTick:            {"tick", ""},
	OpGiveBack:        {"give back", sessionOptional},
}

// eventForms says what events of a kind are called after the client or worker.
var eventForms = [...]struct{ who, words string }{
	EvGranted:        {"client", "granted"},
	EvRefused:        {"client", "refused:"},
	EvRevoked:        {"client", "revoked"},
	EvStartBegun:     {"worker", "start begun"},
	EvStartCancelled: {"worker", "start cancelled"},
	EvStopBegun:      {"worker", "stop begun"},
	EvCheckBegun:     {"worker", "check begun"},
	EvCheckCancelled: {"worker", "check cancelled"},
	EvTellBegun:      {"worker", "tell begun"},
	EvTellCancelled:  {"worker", "tell cancelled"},
	EvClosed:         {"", "closed"},
}

var reasonNames = [...]string{
	ReasonNone:         "",
	ReasonCancelled:    "cancelled",
	ReasonClosed:       "closed",
	ReasonLost:         "session lost",
	ReasonLimit:        "session limit",
	ReasonStartFailed:  "start failed",
	ReasonSaturated:    "saturated",
	ReasonNotAvailable: "not available",
	ReasonTimeout:      "timeout",
	ReasonForced:       "forced",
}

// String names the reason as events do.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// String names the session as operations and events do: a, b, ...
func (s Session) String() string {
	if s < 1 || s > 26 {
		return fmt.Sprintf("Session(%d)", uint8(s))
	}
	return string(rune('a' + s - 1))
}

// String names the kind as operations do.
func (k OpKind) String() string {
	if k == OpNone || int(k) >= len(opForms) {
		return fmt.Sprintf("OpKind(%d)", uint8(k))
	}
	return opForms[k].words
}

// String writes the operation on one line, such as
//
//	acquire client=1 session=a
//	start ok worker=1
func (op Op) String() string {
	b := []byte(op.Kind.String())
	if op.Kind == OpNone || int(op.Kind) >= len(opForms) {
		return string(b)
	}
	for field := range strings.FieldsSeq(opForms[op.Kind].fields) {
		switch field {
		case "client":
			b = fmt.Appendf(b, " client=%d", op.Client)
		case "worker":
			b = fmt.Appendf(b, " worker=%d", op.Worker)
		case "min":
			b = fmt.Appendf(b, " min=%d", op.Min)
		case "max":
			b = fmt.Appendf(b, " max=%d", op.Max)
		default:
			if field == "session" || op.Session != 0 {
				b = fmt.Appendf(b, " session=%v", op.Session)
			}
		}
	}
	return string(b)
}

// ParseOp reads what [Op.String] wrote. The fields may be in any order.
func ParseOp(line string) (Op, error) {
	words := strings.Fields(line)
	n := 0
	for n < len(words) && !strings.Contains(words[n], "=") {
		n++
	}
	name := strings.Join(words[:n], " ")
	for kind, form := range opForms {
		if name == "" || form.words != name {
			continue
		}
		op := Op{Kind: OpKind(kind)}
		if err := op.parseFields(form, words[n:]); err != nil {
			return Op{}, fmt.Errorf("model: op %q: %w", line, err)
		}
		return op, nil
	}
	return Op{}, fmt.Errorf("model: unknown op %q", line)
}

func (op *Op) parseFields(form opForm, words []string) error {
	wanted := strings.Fields(form.fields)
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		place := -1
		for i, field := range wanted {
			if strings.TrimSuffix(field, "?") == key {
				place = i
			}
		}
		if !ok || place < 0 {
			return fmt.Errorf("%q does not belong here", word)
		}
		wanted = append(wanted[:place:place], wanted[place+1:]...)
		if err := op.parseField(key, value); err != nil {
			return err
		}
	}
	if len(wanted) > 0 && !strings.HasSuffix(wanted[0], "?") {
		return fmt.Errorf("%s is missing", wanted[0])
	}
	return nil
}

func (op *Op) parseField(key, value string) (err error) {
	switch key {
	case "session":
		op.Session, err = parseSession(value)
		return err
	case "client":
		return parseNumber(&op.Client, value, 1)
	case "worker":
		return parseNumber(&op.Worker, value, 1)
	case "min":
		return parseNumber(&op.Min, value, 0)
	default:
		return parseNumber(&op.Max, value, 1)
	}
}

// parseNumber reads a decimal number that fits and is not below least.
func parseNumber[T Client | Worker | uint8](to *T, value string, least T) error {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || uint64(T(n)) != n || T(n) < least {
		return fmt.Errorf("%q is no number that fits", value)
	}
	*to = T(n)
	return nil
}

func parseSession(value string) (Session, error) {
	if len(value) != 1 || value[0] < 'a' || value[0] > 'z' {
		return 0, fmt.Errorf("%q is no session", value)
	}
	return Session(value[0]-'a') + 1, nil
}

// String writes the event on one line, such as
//
//	client 1 granted worker=1 fresh
//	worker 2 start begun
func (e Event) String() string {
	if e.Kind == EvNone || int(e.Kind) >= len(eventForms) {
		return fmt.Sprintf("EventKind(%d)", uint8(e.Kind))
	}
	form := eventForms[e.Kind]
	text := form.words
	switch form.who {
	case "client":
		text = fmt.Sprintf("client %d %s", e.Client, form.words)
	case "worker":
		text = fmt.Sprintf("worker %d %s", e.Worker, form.words)
	}
	switch {
	case e.Kind == EvGranted:
		text += fmt.Sprintf(" worker=%d", e.Worker)
	case e.Kind == EvTellBegun:
		text += fmt.Sprintf(" session=%v", e.Session)
	case e.Reason != ReasonNone:
		text += " " + e.Reason.String()
	}
	if e.Fresh {
		text += " fresh"
	}
	return text
}

// ParseEvent reads what [Event.String] wrote.
func ParseEvent(line string) (Event, error) {
	for kind := EvGranted; int(kind) < len(eventForms); kind++ {
		e, ok := parseEvent(kind, strings.Fields(line))
		if ok && e.String() == strings.Join(strings.Fields(line), " ") {
			return e, nil
		}
	}
	return Event{}, fmt.Errorf("model: unknown event %q", line)
}

// parseEvent reads the fields of an event of a kind; what it overlooks, the caller finds.
func parseEvent(kind EventKind, words []string) (Event, bool) {
	e := Event{Kind: kind}
	form := eventForms[kind]
	if form.who != "" {
		if len(words) < 2 {
			return e, false
		}
		var err error
		if form.who == "client" {
			err = parseNumber(&e.Client, words[1], 1)
		} else {
			err = parseNumber(&e.Worker, words[1], 1)
		}
		if err != nil {
			return e, false
		}
		words = words[2:]
	}
	rest := words[min(len(words), len(strings.Fields(form.words))):]
	for _, word := range rest {
		if value, ok := strings.CutPrefix(word, "worker="); ok && parseNumber(&e.Worker, value, 1) != nil {
			return e, false
		}
		if value, ok := strings.CutPrefix(word, "session="); ok {
			id, err := parseSession(value)
			if err != nil {
				return e, false
			}
			e.Session = id
		}
	}
	e.Fresh = kind == EvGranted && len(rest) == 2 && rest[1] == "fresh"
	if kind == EvRefused || kind == EvClosed {
		for r, name := range reasonNames {
			if name == strings.Join(rest, " ") {
				e.Reason = Reason(r)
			}
		}
	}
	return e, kind != EvRefused || e.Reason != ReasonNone
}
