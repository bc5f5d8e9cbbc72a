package linearize

import (
	"encoding/hex"
	"fmt"
	"time"
)

// setter stores the value of a field of a T. A name that is absent from a line leaves zero.
type setter[T any] func(to *T, v *value, names *interner) error

// interner keeps one copy of each name: a history has few of them, many times.
type interner struct{ known map[string]string }

func (n *interner) string(b []byte) string {
	if s, ok := n.known[string(b)]; ok {
		return s
	}
	s := string(b)
	n.known[s] = s
	return s
}

func uintField[T any](of func(*T) *uint64) setter[T] {
	return func(to *T, v *value, _ *interner) (err error) {
		*of(to), err = v.uint()
		return err
	}
}

func intField[T any](of func(*T) *int) setter[T] {
	return func(to *T, v *value, _ *interner) (err error) {
		*of(to), err = v.int()
		return err
	}
}

func timeField[T any](of func(*T) *time.Duration) setter[T] {
	return func(to *T, v *value, _ *interner) error {
		n, err := v.int()
		*of(to) = time.Duration(n)
		return err
	}
}

func boolField[T any](of func(*T) *bool) setter[T] {
	return func(to *T, v *value, _ *interner) (err error) {
		*of(to), err = v.bool()
		return err
	}
}

func textField[T any](of func(*T) *string) setter[T] {
	return func(to *T, v *value, names *interner) error {
		b, err := v.bytes()
		if err == nil {
			*of(to) = names.string(b)
		}
		return err
	}
}

// hexField is for a text that is not UTF-8, which no string of JSON can be.
func hexField[T any](of func(*T) *string) setter[T] {
	return func(to *T, v *value, names *interner) error {
		b, err := v.bytes()
		if err != nil {
			return err
		}
		text, err := hex.DecodeString(string(b))
		*of(to) = names.string(text)
		return err
	}
}

func nameField[T any, E ~uint8](names []string, of func(*T) *E) setter[T] {
	return func(to *T, v *value, _ *interner) error {
		i, err := v.oneOf(names)
		*of(to) = E(i)
		return err
	}
}

// affinityNames are by Affinity + 1, for the first name never counts.
var affinityNames = [...]string{"", "none", "strict", "sticky", "prefer"}

// fields are the names that lines may have, by what the line is.
type fields struct {
	head   map[string]setter[Head]
	op     map[string]setter[Op]
	change map[string]setter[Change]
	fault  map[string]setter[Fault]
	end    map[string]setter[counts]
}

func newFields() *fields {
	return &fields{
		head: map[string]setter[Head]{
			"pool":        textField(func(h *Head) *string { return &h.Pool }),
			"seed":        uintField(func(h *Head) *uint64 { return &h.Seed }),
			"replay":      textField(func(h *Head) *string { return &h.Replay }),
			"capacity":    intField(func(h *Head) *int { return &h.Config.Capacity }),
			"affinity":    affinityField,
			"session_ttl": timeField(func(h *Head) *time.Duration { return &h.Config.SessionTTL }),
			"slack":       timeField(func(h *Head) *time.Duration { return &h.Config.Slack }),
			"fifo":        boolField(func(h *Head) *bool { return &h.Config.FIFO }),
			"max_waiters": intField(func(h *Head) *int { return &h.Config.MaxWaiters }),
			"full_only":   boolField(func(h *Head) *bool { return &h.Config.FullOnly }),
			"close_waits": boolField(func(h *Head) *bool { return &h.Config.CloseWaits }),
			"none_after":  boolField(func(h *Head) *bool { return &h.Config.NoneAfter }),
			"fresh":       boolField(func(h *Head) *bool { return &h.Config.Fresh }),
			"ends":        boolField(func(h *Head) *bool { return &h.Config.Ends }),
		},
		op: map[string]setter[Op]{
			"client":      intField(func(o *Op) *int { return &o.Client }),
			"do":          nameField(kindNames[:], func(o *Op) *Kind { return &o.Kind }),
			"outcome":     nameField(outcomeNames[:], func(o *Op) *Outcome { return &o.Outcome }),
			"session":     textField(func(o *Op) *string { return &o.Session }),
			"session_hex": hexField(func(o *Op) *string { return &o.Session }),
			"call":        timeField(func(o *Op) *time.Duration { return &o.Call }),
			"return":      timeField(func(o *Op) *time.Duration { return &o.Return }),
			"parked":      timeField(func(o *Op) *time.Duration { return &o.Parked }),
			"worker":      uintField(func(o *Op) *uint64 { return &o.Worker }),
			"token":       uintField(func(o *Op) *uint64 { return &o.Token }),
			"fresh":       boolField(func(o *Op) *bool { return &o.Fresh }),
			"ended":       boolField(func(o *Op) *bool { return &o.Ended }),
			"seq":         uintField(func(o *Op) *uint64 { return &o.Seq }),
			"lease":       intField(func(o *Op) *int { return &o.Lease }),
			"max":         intField(func(o *Op) *int { return &o.Max }),
		},
		change: map[string]setter[Change]{
			"at":          timeField(func(c *Change) *time.Duration { return &c.At }),
			"kind":        nameField(changeNames[:], func(c *Change) *ChangeKind { return &c.Kind }),
			"outcome":     nameField(outcomeNames[:], func(c *Change) *Outcome { return &c.Outcome }),
			"fresh":       boolField(func(c *Change) *bool { return &c.Fresh }),
			"worker":      uintField(func(c *Change) *uint64 { return &c.Worker }),
			"token":       uintField(func(c *Change) *uint64 { return &c.Token }),
			"session":     textField(func(c *Change) *string { return &c.Session }),
			"session_hex": hexField(func(c *Change) *string { return &c.Session }),
		},
		fault: map[string]setter[Fault]{
			"from":   timeField(func(f *Fault) *time.Duration { return &f.From }),
			"to":     timeField(func(f *Fault) *time.Duration { return &f.To }),
			"worker": uintField(func(f *Fault) *uint64 { return &f.Worker }),
			"ends":   boolField(func(f *Fault) *bool { return &f.Ends }),
			"text":   textField(func(f *Fault) *string { return &f.Text }),
		},
		end: map[string]setter[counts]{
			"ops":     intField(func(c *counts) *int { return &c.ops }),
			"changes": intField(func(c *counts) *int { return &c.changes }),
			"faults":  intField(func(c *counts) *int { return &c.faults }),
		},
	}
}

func affinityField(h *Head, v *value, _ *interner) error {
	i, err := v.oneOf(affinityNames[:])
	if err == nil {
		h.Config.Affinity = Affinity(i - 1)
	}
	return err
}

// counts are the numbers of lines that the end of a file states.
type counts struct{ ops, changes, faults int }

// set stores the field called name.
func set[T any](in map[string]setter[T], to *T, name []byte, v *value, names *interner) error {
	f := in[string(name)]
	if f == nil {
		return fmt.Errorf("unknown here")
	}
	return f(to, v, names)
}

func (l *line) head(h *Head) {
	c := &h.Config
	l.begin()
	l.number("history", Version)
	l.text("pool", h.Pool)
	l.number("seed", h.Seed)
	l.text("replay", h.Replay)
	l.number("capacity", uint64(c.Capacity))
	l.text("affinity", affinityNames[c.Affinity+1])
	l.number("session_ttl", uint64(c.SessionTTL))
	l.number("slack", uint64(c.Slack))
	l.flag("fifo", c.FIFO)
	l.number("max_waiters", uint64(c.MaxWaiters))
	l.flag("full_only", c.FullOnly)
	l.flag("close_waits", c.CloseWaits)
	l.flag("none_after", c.NoneAfter)
	l.flag("fresh", c.Fresh)
	l.flag("ends", c.Ends)
}

func (l *line) op(o *Op) {
	l.begin()
	l.number("op", uint64(o.ID))
	l.number("client", uint64(o.Client))
	l.text("do", o.Kind.String())
	l.session(o.Session)
	l.number("lease", uint64(o.Lease))
	l.number("max", uint64(o.Max))
	l.flag("ended", o.Ended)
	l.number("call", uint64(o.Call))
	l.number("parked", uint64(o.Parked))
	l.number("return", uint64(o.Return))
	if o.Outcome != NoAnswer {
		l.text("outcome", o.Outcome.String())
	}
	l.number("worker", o.Worker)
	l.number("token", o.Token)
	l.flag("fresh", o.Fresh)
	l.number("seq", o.Seq)
}

func (l *line) change(c *Change) {
	l.begin()
	l.number("change", c.Seq)
	l.number("at", uint64(c.At))
	l.text("kind", c.Kind.String())
	l.number("worker", c.Worker)
	l.session(c.Session)
	l.number("token", c.Token)
	l.flag("fresh", c.Fresh)
	if c.Outcome != NoAnswer {
		l.text("outcome", c.Outcome.String())
	}
}

func (l *line) fault(f *Fault) {
	l.begin()
	l.text("fault", f.Kind)
	l.number("from", uint64(f.From))
	l.number("to", uint64(f.To))
	l.number("worker", f.Worker)
	l.flag("ends", f.Ends)
	l.text("text", f.Text)
}

func (l *line) end(c *counts) {
	l.begin()
	l.flag("end", true)
	l.number("ops", uint64(c.ops))
	l.number("changes", uint64(c.changes))
	l.number("faults", uint64(c.faults))
}
