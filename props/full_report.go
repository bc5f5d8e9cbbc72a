package props

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/poolproof/poolproof/model"
)

// fullPlay is an operation and how it is done, out of several ways that are the same for
// the model: whether a hook that fails returns an error or panics, for instance.
type fullPlay struct {
	op      model.Op
	variant uint8
}

// plain returns the play with its variant reduced to what has an effect.
func (p fullPlay) plain() fullPlay {
	switch p.op.Kind {
	case model.OpStopped:
		p.variant %= 4
	case model.OpStartFailed, model.OpCheckFailed, model.OpTellFailed:
		p.variant %= 3
	case model.OpReleaseUnusable, model.OpClose, model.OpForce:
		p.variant %= 2
	default:
		p.variant = 0
	}
	return p
}

// String writes the play as traces have it.
func (p fullPlay) String() string {
	text := fullOpText(p.op)
	if p = p.plain(); p.variant > 0 {
		text += fmt.Sprintf("%s%d", fullVariantText, p.variant)
	}
	return text
}

// parseFullPlay reads what String wrote.
func parseFullPlay(line string) (p fullPlay, err error) {
	line, variant, varies := strings.Cut(line, fullVariantText)
	if p.op, err = parseFullOp(line); err != nil || !varies {
		return p, err
	}
	n, err := strconv.ParseUint(variant, 10, 8)
	if p.variant = uint8(n); err == nil && (n == 0 || p != p.plain()) {
		err = fmt.Errorf("%v has no variant %d", p.op, n)
	}
	return p, err
}

const fullVariantText = " variant="

// fullLine is one step of a script: an operation and what followed. An operation that the
// model does not know is a remark.
type fullLine struct {
	fullPlay
	remark string
	seen   []model.Event
}

// fullScript is what a run did, in order.
type fullScript struct {
	lines []fullLine
}

func (s *fullScript) add(play fullPlay, seen []model.Event) {
	s.lines = append(s.lines, fullLine{fullPlay: play, seen: append([]model.Event(nil), seen...)})
}

// length is the number of operations.
func (s *fullScript) length() (n int) {
	for _, line := range s.lines {
		if line.op.Kind != model.OpNone {
			n++
		}
	}
	return n
}

func (s *fullScript) remark(text string) { s.lines = append(s.lines, fullLine{remark: text}) }

// columns prints the script with one column for each client, and a last one for hooks, the
// operator and time.
func (s *fullScript) columns(clients int) string {
	cells := make([][]string, 0, len(s.lines)+1)
	head := make([]string, clients+1)
	for c := range clients {
		head[c] = fmt.Sprintf("client %d", c+1)
	}
	head[clients] = "hooks, operator and time"
	cells = append(cells, head)
	put := func(c model.Client, text string) {
		row := make([]string, clients+1)
		col := clients
		if c > 0 && int(c) <= clients {
			col = int(c) - 1
		}
		row[col] = text
		cells = append(cells, row)
	}
	for _, line := range s.lines {
		if line.remark != "" {
			put(0, line.remark)
			continue
		}
		put(line.op.Client, line.fullPlay.String())
		for _, ev := range line.seen {
			put(ev.Client, "  "+fullEventText(ev))
		}
	}
	return fullTable(cells)
}

// fullTable aligns rows of cells; the last column is not padded.
func fullTable(cells [][]string) string {
	width := make([]int, len(cells[0]))
	for _, row := range cells {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range cells {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString("  ")
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

func fullEventTexts(seen []model.Event) string {
	texts := make([]string, len(seen))
	for i, ev := range seen {
		texts[i] = fullEventText(ev)
	}
	if len(texts) == 0 {
		return "nothing"
	}
	return strings.Join(texts, ", ")
}

func fullOpTexts(ops []model.Op) string {
	texts := make([]string, len(ops))
	for i, op := range ops {
		texts[i] = fullOpText(op)
	}
	return strings.Join(texts, ", ")
}

// fullOpText writes an operation, those that the model does not know included.
func fullOpText(op model.Op) string {
	switch op.Kind {
	case model.OpNone:
		return "open"
	case fullOpStale:
		op.Kind = model.OpAcquire
		return strings.Replace(op.String(), "acquire", fullStaleText, 1)
	case fullOpAgain:
		op.Kind = model.OpRelease
		return strings.Replace(op.String(), "release", fullAgainText, 1)
	}
	return op.String()
}

const (
	fullStaleText = "acquire cancelled"
	fullAgainText = "release again"
)

// parseFullOp reads what fullOpText wrote.
func parseFullOp(line string) (op model.Op, err error) {
	if line == "open" {
		return model.Op{}, nil
	}
	if fields, ok := strings.CutPrefix(line, fullStaleText); ok {
		op, err = model.ParseOp("acquire" + fields)
		op.Kind = fullOpStale
		return op, err
	}
	if fields, ok := strings.CutPrefix(line, fullAgainText); ok {
		op, err = model.ParseOp("release" + fields)
		op.Kind = fullOpAgain
		return op, err
	}
	return model.ParseOp(line)
}

func fullEventText(ev model.Event) string { return ev.String() }

// trace prints the script as a trace.
func (s *fullScript) trace(cfg *model.Config) string {
	t := fullTrace{cfg: cfg}
	for _, line := range s.lines {
		if line.remark == "" {
			t.steps = append(t.steps, fullTraceStep{fullPlay: line.fullPlay, seen: line.seen})
		}
	}
	return t.String()
}

// fullConfigText writes the fields of a configuration that are not zero, but for the offer.
func fullConfigText(cfg *model.Config) string {
	text := "config"
	v := reflect.ValueOf(cfg).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		always := field.Name == "Affinity" && cfg.Sessions > 0
		if field.IsExported() && field.Name != "Offer" && (always || !v.Field(i).IsZero()) {
			text += fmt.Sprintf(" %s=%v", field.Name, v.Field(i))
		}
	}
	return text
}

// parseFullConfig reads what fullConfigText wrote.
func parseFullConfig(line string) (*model.Config, error) {
	cfg := &model.Config{}
	v := reflect.ValueOf(cfg).Elem()
	for _, word := range strings.Fields(line)[1:] {
		key, value, _ := strings.Cut(word, "=")
		field := v.FieldByName(key)
		if !field.IsValid() || !field.CanSet() {
			return nil, fmt.Errorf("no field %s", key)
		}
		if field.Kind() == reflect.Bool {
			field.SetBool(value == "true")
			continue
		}
		if key == "Affinity" {
			for cfg.Affinity.String() != value && cfg.Affinity < model.Prefer {
				cfg.Affinity++
			}
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || field.Kind() != reflect.Int {
			return nil, fmt.Errorf("%s: %q is no number", key, value)
		}
		field.SetInt(int64(n))
	}
	return cfg, cfg.Validate()
}
