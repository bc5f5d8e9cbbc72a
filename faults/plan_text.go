package faults

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// String writes the plan in its text form, which ParsePlan reads.
func (p *Plan) String() string {
	var b strings.Builder
	if p.Name != "" {
		fmt.Fprintf(&b, "plan %s\n", p.Name)
	}
	fmt.Fprintf(&b, "seed %d\n", p.Seed)
	for i := range p.Faults {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s\n", p.Faults[i].String())
	}
	return b.String()
}

// String writes the line of a plan.
func (f *Planned) String() string {
	words := []string{f.When.String() + ":", f.Kind}
	if len(f.Options) > 0 {
		words = append(words, f.Options.String())
	}
	words = append(words, f.Who.String())
	if f.For > 0 {
		words = append(words, "for", f.For.String())
	}
	return strings.Join(words, " ")
}

// String writes the times as a plan does.
func (w When) String() string {
	switch {
	case w.To <= w.From:
		return fmt.Sprintf("at %v", w.From)
	case w.Every == 0:
		return fmt.Sprintf("between %v and %v", w.From, w.To)
	}
	return fmt.Sprintf("every %v from %v to %v", w.Every, w.From, w.To)
}

// String writes the victims as a plan does.
func (w Who) String() string {
	switch w.Aim {
	case AtShare:
		return "share " + strconv.FormatFloat(100*w.Share, 'g', 15, 64) + "%"
	case AtAll:
		return "all"
	case AtSession:
		if w.Session == "" {
			return "session"
		}
		return "session " + w.Session
	case AtStarts:
		return "starts"
	case AtPool:
		return "pool"
	}
	return "random"
}

// mostText bounds a plan's text, in bytes.
const mostText = 1 << 20

// ParsePlan reads the text form of a plan. Empty lines, and what follows a #, mean
// nothing. An error names the line, what is there, and what is allowed.
func ParsePlan(text string) (*Plan, error) {
	if len(text) > mostText {
		return nil, fmt.Errorf("faults: the plan's text has %d bytes; want at most %d", len(text), mostText)
	}
	p := new(Plan)
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := &words{rest: strings.Fields(line)}
		if len(words.rest) == 0 {
			continue
		}
		if err := p.parseLine(words); err != nil {
			return nil, fmt.Errorf("faults: plan, line %d: %w", i+1, err)
		}
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return p, nil
}

// parseLine reads one line.
func (p *Plan) parseLine(w *words) (err error) {
	switch first := w.rest[0]; first {
	case "plan":
		w.next()
		if p.Name = w.next(); !isWord(p.Name) {
			return fmt.Errorf("the plan's name is %q; want one word", p.Name)
		}
		return w.end()
	case "seed":
		w.next()
		text := w.next()
		if p.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return fmt.Errorf("the seed is %q; want a whole number", text)
		}
		return w.end()
	case "at", "between", "every":
		if len(p.Faults) >= MostFaults {
			return fmt.Errorf("there are more than %d faults", MostFaults)
		}
		f, err := parsePlanned(w)
		p.Faults = append(p.Faults, f)
		return err
	default:
		return fmt.Errorf("it begins with %q; want plan, seed, at, between or every", first)
	}
}

// parsePlanned reads a line with a fault.
func parsePlanned(w *words) (f Planned, err error) {
	if f.When, err = parseWhen(w); err != nil {
		return f, err
	}
	f.Kind = w.next()
	if !isWord(f.Kind) {
		return f, fmt.Errorf("the kind of fault is %q; want a word such as kill", f.Kind)
	}
	for strings.Contains(w.peek(), "=") {
		key, value, _ := strings.Cut(w.next(), "=")
		if _, twice := f.Options[key]; twice {
			return f, fmt.Errorf("the option %s is given twice", key)
		}
		if f.Options == nil {
			f.Options = Options{}
		}
		f.Options[key] = value
	}
	if f.Who, err = parseWho(w); err != nil {
		return f, err
	}
	if w.peek() == "for" {
		w.next()
		if f.For, err = w.duration(); err != nil {
			return f, err
		}
	}
	return f, w.end()
}

// parseWhen reads the times, up to the colon.
func parseWhen(w *words) (when When, err error) {
	read := func(words ...string) error {
		values := map[string]*time.Duration{"at": &when.From, "between": &when.From, "and": &when.To, "every": &when.Every, "from": &when.From, "to": &when.To}
		for i, word := range words {
			if got := w.next(); got != word {
				return fmt.Errorf("%q stands where %q is wanted", got, word)
			}
			if i == len(words)-1 {
				w.cutColon()
			}
			d, err := w.duration()
			if err != nil {
				return err
			}
			*values[word] = d
		}
		if got := w.next(); got != ":" {
			return fmt.Errorf("%q stands where a colon is wanted", got)
		}
		return nil
	}
	switch w.peek() {
	case "at":
		err = read("at")
	case "between":
		err = read("between", "and")
	default:
		err = read("every", "from", "to")
	}
	if err == nil && when.To != 0 && when.To <= when.From {
		err = fmt.Errorf("it lasts from %v to %v; want the end to be later", when.From, when.To)
	}
	return when, err
}

// parseWho reads the victims.
func parseWho(w *words) (who Who, err error) {
	switch word := w.next(); word {
	case "random":
	case "all":
		who.Aim = AtAll
	case "starts":
		who.Aim = AtStarts
	case "pool":
		who.Aim = AtPool
	case "session":
		who.Aim = AtSession
		if next := w.peek(); next != "" && next != "for" {
			who.Session = w.next()
		}
	case "share":
		who.Aim = AtShare
		text := w.next()
		share, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		if err != nil || !strings.HasSuffix(text, "%") || !(share > 0 && share <= 100) {
			return who, fmt.Errorf("the share is %q; want a percentage such as 60%%", text)
		}
		who.Share = share / 100
	default:
		return who, fmt.Errorf("the victims are %q; want random, share, all, session, starts or pool", word)
	}
	return who, nil
}

// words are those of a line that are still to be read.
type words struct{ rest []string }

// peek returns the next word, or nothing.
func (w *words) peek() string {
	if len(w.rest) == 0 {
		return ""
	}
	return w.rest[0]
}

// next takes the next word, or nothing.
func (w *words) next() string {
	word := w.peek()
	w.rest = w.rest[min(1, len(w.rest)):]
	return word
}

// cutColon makes a word of the colon at the end of the next one.
func (w *words) cutColon() {
	if before, cut := strings.CutSuffix(w.peek(), ":"); cut && before != "" {
		w.rest = append([]string{before, ":"}, w.rest[1:]...)
	}
}

// duration takes a duration.
func (w *words) duration() (time.Duration, error) {
	text := w.next()
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration; want one such as 250ms", text)
	}
	return d, nil
}

// end returns an error if words are left.
func (w *words) end() error {
	if len(w.rest) > 0 {
		return fmt.Errorf("%q is left over at its end", strings.Join(w.rest, " "))
	}
	return nil
}
