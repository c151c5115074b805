package web

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sojourn-dev/sojourn/cmd/internal/signin"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/picture"
)

//go:embed templates
var templateFiles embed.FS

var pages = func() map[string]*template.Template {
	base := template.Must(template.New("base.html").Funcs(helps).ParseFS(templateFiles, "templates/base.html"))
	parsed := map[string]*template.Template{}
	for _, name := range []string{"journeys", "journey", "touchpoint", "problem"} {
		parsed[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, "templates/"+name+".html"))
	}
	return parsed
}()

// helps are functions of the templates. Those that return template.HTML have escaped it.
var helps = template.FuncMap{
	"percent": func(value any) string { return written(value, picture.Percent) },
	"number": func(value any) string {
		return written(value, func(f float64) string { return picture.Number(f, 0) })
	},
	"decimal": func(value any) string {
		return written(value, func(f float64) string { return picture.Number(f, 2) })
	},
	"signed": func(value float64) string {
		if value > 0 {
			return "+" + picture.Number(value, 0)
		}
		return picture.Number(value, 0)
	},
	"seconds": func(value any) string { return written(value, picture.Seconds) },
	"count": func(value any) string {
		switch value := value.(type) {
		case int32:
			return picture.Count(int64(value))
		case int64:
			return picture.Count(value)
		case *int64:
			if value != nil {
				return picture.Count(*value)
			}
		case int:
			return picture.Count(int64(value))
		}
		return "–"
	},
	"health": func(h atlas.Health) template.HTML { return verdict(picture.Judge(h)) },
	"state":  func(state string) template.HTML { return verdict(picture.JudgeState(state)) },
	"part":   func(health string) template.HTML { return verdict(picture.JudgePart(health)) },
	"outcome": func(outcome string) template.HTML {
		switch outcome {
		case "Success":
			return verdict(picture.Good, outcome)
		case "Failure":
			return verdict(picture.Bad, outcome)
		default:
			return verdict(picture.Unknown, outcome)
		}
	},
	"reached": func(reached *bool) template.HTML {
		if *reached {
			return verdict(picture.Good, "Reached")
		}
		return verdict(picture.Bad, "Not reached")
	},
	"say":     picture.Say,
	"counts":  picture.Counts,
	"scoring": picture.Scoring,
	"left": func(b atlas.Budget) template.HTML {
		if drawn := picture.Left(b); drawn != nil {
			return inline(drawn)
		}
		return ""
	},
	"bounds":  func(name string, f *atlas.Figure) template.HTML { return inline(picture.Bounds(name, *f)) },
	"glance":  func(m *atlas.Map) template.HTML { return inline(picture.Glance(m)) },
	"journey": func(m *atlas.Map) string { return journeyPath(m.Namespace, m.Name) },
	"touchpoint": func(namespace, name string) string {
		return touchpointPath(atlas.Key{Namespace: namespace, Name: name})
	},
	"named": func(name string) string {
		namespace, name, _ := strings.Cut(name, "/")
		return journeyPath(namespace, name)
	},
	"asset":   func(name string) string { return "/static/" + name + "?v=" + files[name].mark },
	"runbook": runbook,
	"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"clock":   func(t time.Time) string { return t.UTC().Format("2 Jan 15:04 UTC") },
	"lower":   strings.ToLower,
}

// written writes a number that may not be known.
func written(value any, write func(float64) string) string {
	switch value := value.(type) {
	case float64:
		return write(value)
	case *float64:
		if value != nil {
			return write(*value)
		}
	case int32:
		return write(float64(value))
	}
	return "–"
}

func inline(p *picture.Picture) template.HTML { return template.HTML(p.Inline()) }

// verdict is a mark and the word for it.
func verdict(ink picture.Ink, word string) template.HTML {
	return template.HTML(`<span class="verdict `+string(ink)+`">`) + inline(picture.Sign(ink)) + template.HTML(`<span>`+template.HTMLEscapeString(word)+`</span></span>`)
}

func journeyPath(namespace, name string) string {
	return "/journeys/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
}

func touchpointPath(key atlas.Key) string {
	return "/touchpoints/" + url.PathEscape(key.Namespace) + "/" + url.PathEscape(key.Name)
}

// runbook is an address that a page may lead to; empty if it is none of the web.
func runbook(address string) string {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return ""
	}
	return parsed.String()
}

// ago says how long something is past.
func ago(now, then time.Time) string {
	past := now.Sub(then)
	for _, unit := range []struct {
		long time.Duration
		word string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(past / unit.long); n > 1 || n == 1 && unit.long < 24*time.Hour {
			if n == 1 {
				return "1 " + unit.word + " ago"
			}
			return strconv.Itoa(n) + " " + unit.word + "s ago"
		}
	}
	return "just now"
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	runes := []rune(strings.TrimRight(text, "."))
	if len(runes) == 0 {
		return ""
	}
	runes[0] = unicode.ToUpper(runes[0])
	return string(runes) + "."
}

// page is what every page has.
type page struct {
	Title string
	// Path leads from all journeys to this page.
	Path    []crumb
	Mark    string
	At      time.Time
	Now     time.Time
	Notices []string
	Body    any
}

type crumb struct{ Text, Address string }

// Ago says how long something is past.
func (p *page) Ago(t time.Time) string { return ago(p.Now, t) }

var errNotFound = errors.New("there is no such page, or it is not for you to see")

// page answers with what a function makes for the viewer: the name of a template, and what
// is in it.
func (s *Server) page(make func(context.Context, *http.Request, *view) (string, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		viewer, err := s.Gate.Admit(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		v, err := s.viewOf(ctx, viewer)
		if err != nil {
			s.trouble(w, r, err)
			return
		}
		name, body, err := make(ctx, r, v)
		switch {
		case errors.Is(err, errNotFound):
			s.write(w, r, http.StatusNotFound, "problem", &page{Title: "Not found", Body: sentence(err.Error())})
			return
		case err != nil:
			s.trouble(w, r, err)
			return
		}
		shown := &page{Mark: v.mark, At: v.at, Now: s.Now(), Notices: v.notices, Body: body}
		switch body := body.(type) {
		case *overview:
			shown.Title = "Journeys"
		case *journeyPage:
			shown.Title, shown.Path = body.Title, []crumb{{body.Namespace, ""}}
		case *touchpointPage:
			shown.Title, shown.Path = body.Title, []crumb{{body.Namespace, ""}}
		}
		s.write(w, r, http.StatusOK, name, shown)
	}
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, name string, shown *page) {
	var out bytes.Buffer
	if err := pages[name].Execute(&out, shown); err != nil {
		s.Log.Error("cannot write a page", "page", name, "error", err)
		http.Error(w, "the page cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(out.Bytes())
	}
}

// refuse answers those who may see nothing.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal := refusalOf(err)
	switch refusal.Status {
	case http.StatusUnauthorized:
		signin.Challenge(w)
	case http.StatusServiceUnavailable:
		s.Log.Error("cannot find out who asks", "error", err)
	}
	s.write(w, r, refusal.Status, "problem", &page{Title: "Sign in", Body: sentence(refusal.Message)})
}

// trouble says that a page cannot be had for now. To whom the server shows itself alone it
// says why.
func (s *Server) trouble(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody waits for it
	}
	s.Log.Error("cannot make a page", "error", err)
	text := "The cluster does not answer. This page tries again by itself."
	if _, alone := s.Gate.(everybody); alone {
		text = sentence(err.Error()) + " This page tries again by itself."
	}
	w.Header().Set("Retry-After", "5")
	s.write(w, r, http.StatusServiceUnavailable, "problem", &page{Title: "No answer", Body: text})
}

// overview is the page of all journeys.
type overview struct {
	Maps []*atlas.Map
	// Kept and so on count them by their health.
	Breached, AtRisk, Unknown, Kept int
	Missing                         []string
}

func (s *Server) journeys(_ context.Context, _ *http.Request, v *view) (string, any, error) {
	o := &overview{Maps: slices.Clone(v.maps())}
	rank := func(m *atlas.Map) int {
		ink, _ := picture.Judge(m.Health)
		return slices.Index([]picture.Ink{picture.Bad, picture.Warn, picture.Unknown, picture.Good}, ink)
	}
	for _, m := range o.Maps {
		*[]*int{&o.Breached, &o.AtRisk, &o.Unknown, &o.Kept}[rank(m)]++
		for _, missing := range m.Missing {
			// What is missing of all is said once, what is missing of some, of whom.
			if !everywhere(o.Maps, missing) {
				missing = m.Namespace + "/" + m.Name + ": " + missing
			}
			if !slices.Contains(o.Missing, missing) {
				o.Missing = append(o.Missing, missing)
			}
		}
	}
	score := func(m *atlas.Map) float64 {
		if m.Score == nil {
			return 101
		}
		return *m.Score
	}
	slices.SortStableFunc(o.Maps, func(a, b *atlas.Map) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(score(a), score(b)))
	})
	return "journeys", o, nil
}

func everywhere(drawn []*atlas.Map, missing string) bool {
	return !slices.ContainsFunc(drawn, func(m *atlas.Map) bool { return !slices.Contains(m.Missing, missing) })
}

// journeyPage is the page of a journey.
type journeyPage struct {
	*atlas.Map
	Names, Rest template.HTML
	// Troubled are budgets that are not kept, or of which that is not known, the worst
	// first; Well are the others.
	Troubled, Well []promised
}

// promised is a budget and where it is.
type promised struct {
	atlas.Budget
	At *atlas.Touchpoint
}

func (s *Server) journey(ctx context.Context, r *http.Request, v *view) (string, any, error) {
	m, err := s.mapOf(ctx, v, atlas.Key{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")})
	if err != nil {
		return "", nil, err
	}
	if m == nil {
		return "", nil, errNotFound
	}
	names, rest := picture.Draw(m, picture.Options{Link: touchpointPath}).InlineParts()
	shown := &journeyPage{Map: m, Names: template.HTML(names), Rest: template.HTML(rest)}
	seen := map[atlas.Key]bool{}
	for i := range m.Stages {
		for j := range m.Stages[i].Stops {
			touchpoint := &m.Stages[i].Stops[j].Touchpoint
			key := atlas.Key{Namespace: touchpoint.Namespace, Name: touchpoint.Name}
			if seen[key] {
				continue
			}
			seen[key] = true
			for _, b := range touchpoint.Promised {
				if b.State == "Met" {
					shown.Well = append(shown.Well, promised{b, touchpoint})
				} else {
					shown.Troubled = append(shown.Troubled, promised{b, touchpoint})
				}
			}
		}
	}
	worst := []string{"Breached", "AtRisk", "Inconclusive", "NoData", "InsufficientData", "Met"}
	for _, budgets := range [][]promised{shown.Troubled, shown.Well} {
		slices.SortStableFunc(budgets, func(a, b promised) int {
			return cmp.Or(slices.Index(worst, a.State)-slices.Index(worst, b.State), cmp.Compare(leftOf(a), leftOf(b)))
		})
	}
	return "journey", shown, nil
}

func leftOf(b promised) float64 {
	if b.Left == nil {
		return 1000
	}
	return *b.Left
}

// touchpointPage is the page of a touchpoint.
type touchpointPage struct {
	*atlas.Detail
	Burns        []chart
	Spreads      []chart
	EaseCurve    template.HTML
	LatencyCurve template.HTML
	Visits       []visit
	Told         []told
	// Mapped and Managed are the elements that are filled in.
	Mapped, Managed []element
	Lanes           []laneRow
}

type chart struct {
	Title string
	// Says what the chart does not: how many answers, between which bounds.
	Says    string
	Drawing template.HTML
}

// visit is how long the phases of a visit from a place take.
type visit struct {
	Location string
	Drawing  template.HTML
	Phases   []atlas.Phase
}

// told is an entry of the history: an event, or when a condition became what it is.
type told struct {
	Time          time.Time
	Kind, Message string
	Ink           picture.Ink
}

type element struct {
	Name  string
	Texts []string
}

type laneRow struct {
	Name  string
	Parts []atlas.Part
}

func (s *Server) touchpoint(ctx context.Context, r *http.Request, v *view) (string, any, error) {
	d, err := s.detailOf(ctx, v, atlas.Key{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")})
	if err != nil {
		return "", nil, err
	}
	if d == nil {
		return "", nil, errNotFound
	}
	shown := &touchpointPage{Detail: d}
	for _, b := range d.Promised {
		if drawing := picture.OverTime("What was left of "+b.SLO+"/"+b.Objective, b.BurnDown, picture.BudgetAxis); drawing != nil {
			shown.Burns = append(shown.Burns, chart{Title: b.SLO + "/" + b.Objective, Says: b.Promise, Drawing: inline(drawing)})
		}
	}
	for _, spread := range d.Distributions {
		shown.Spreads = append(shown.Spreads, chart{Title: spread.Instrument, Says: saysOf(d, spread), Drawing: inline(picture.Spread(spread))})
	}
	if drawing := picture.OverTime("Share that finds it easy", d.EaseOverTime, picture.Percentages); drawing != nil {
		shown.EaseCurve = inline(drawing)
	}
	if drawing := picture.OverTime("95th percentile of the latency", d.LatencyOverTime, picture.Latencies); drawing != nil {
		shown.LatencyCurve = inline(drawing)
	}
	for _, phase := range d.Phases {
		at := slices.IndexFunc(shown.Visits, func(v visit) bool { return v.Location == phase.Location })
		if at < 0 {
			at = len(shown.Visits)
			shown.Visits = append(shown.Visits, visit{Location: phase.Location})
		}
		shown.Visits[at].Phases = append(shown.Visits[at].Phases, phase)
	}
	for i := range shown.Visits {
		if drawing := picture.Bars(shown.Visits[i].Phases); drawing != nil {
			shown.Visits[i].Drawing = inline(drawing)
		}
	}
	shown.Told = historyOf(d)
	for _, e := range d.Elements {
		book, name, _ := strings.Cut(e.Field, ".")
		written := element{picture.Say(strings.ToUpper(name[:1]) + name[1:]), e.Texts}
		if name == "kpis" {
			written.Name = "KPIs"
		}
		if book == "map" {
			shown.Mapped = append(shown.Mapped, written)
		} else {
			shown.Managed = append(shown.Managed, written)
		}
	}
	plain := func(texts []string) []atlas.Part {
		var parts []atlas.Part
		for _, text := range texts {
			parts = append(parts, atlas.Part{Description: text})
		}
		return parts
	}
	for _, row := range []laneRow{
		{"Evidence", plain(d.Blueprint.Evidence)}, {"Customer", plain(d.Blueprint.Customer)}, {"Frontstage", plain(d.Blueprint.Frontstage)},
		{"Backstage", d.Blueprint.Backstage}, {"Support", d.Blueprint.Support},
	} {
		if len(row.Parts) > 0 {
			shown.Lanes = append(shown.Lanes, row)
		}
	}
	return "touchpoint", shown, nil
}

// saysOf is what the figure of an instrument rests on.
func saysOf(d *atlas.Detail, spread atlas.Distribution) string {
	share := func(what string, f *atlas.Figure, write func(float64) string) string {
		if f == nil {
			return ""
		}
		return write(f.Value) + " " + what + ", between " + write(f.Lower) + " and " + write(f.Upper) + " (n " + picture.Count(f.Events) + ")"
	}
	points := func(value float64) string { return picture.Number(value, 0) }
	switch strings.ToUpper(spread.Instrument) {
	case "CES", "CES1":
		if strings.EqualFold(spread.Instrument, d.EffortOn) {
			return share("find it easy", d.Ease, picture.Percent)
		}
	case "CSAT":
		return share("are satisfied", d.Satisfied, picture.Percent)
	case "NPS":
		return share("points", d.NPS, points)
	}
	return ""
}

// historyOf puts events and changes of conditions into one list, the latest first.
func historyOf(d *atlas.Detail) []told {
	var list []told
	for _, e := range d.Events {
		ink := picture.Unknown
		if e.Type == "Warning" {
			ink = picture.Warn
		}
		list = append(list, told{e.Time, picture.Say(e.Reason), e.Message, ink})
	}
	for _, c := range []struct {
		name string
		atlas.Health
	}{{"Healthy", d.Health}, {"Ready", d.Ready}} {
		if !c.Since.IsZero() {
			ink, word := picture.Judge(c.Health)
			list = append(list, told{c.Since, "Since then " + c.name + " is " + c.Status + ": " + strings.ToLower(word), c.Message, ink})
		}
	}
	for _, p := range d.Probes {
		if p.Since.IsZero() {
			continue
		}
		ink, text := picture.Good, "Visits from "+p.Name+" succeed since then"
		if p.Outcome != "Success" {
			ink, text = picture.Bad, "Visits from "+p.Name+" come to "+strings.ToLower(p.Outcome)+" since then"
		}
		detail := p.Reason
		if p.Step != "" {
			detail += ", in step " + p.Step
		}
		list = append(list, told{p.Since, text, detail, ink})
	}
	slices.SortStableFunc(list, func(a, b told) int { return b.Time.Compare(a.Time) })
	return list
}

// Sign is the mark of an entry.
func (t told) Sign() template.HTML { return inline(picture.Sign(t.Ink)) }
