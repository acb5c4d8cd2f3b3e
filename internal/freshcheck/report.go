package freshcheck

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A Report is the outcome of a Check.
type Report struct {
	Status  Status
	Message string // what was found, one line
	Name    string
	Server  string
	Warn    time.Duration
	Crit    time.Duration

	// The rest is set when the server had a freshness record.
	Source time.Time     // zero when there was none
	Age    time.Duration // whole seconds, never negative
	Serial string
	State  string
}

func (r Report) with(s Status, message string) Report {
	r.Status, r.Message = s, message
	return r
}

// judge compares the record with the thresholds. A state other than live is at least a Warning: the server itself says that it lost the store.
func (r Report) judge(rec record, now time.Time) Report {
	r.Source, r.Serial, r.State = rec.source, rec.serial, rec.state
	age := now.Sub(rec.source)
	if age < -maxSkew {
		return r.with(Unknown, fmt.Sprintf("source time is %s in the future: compare the clocks", (-age).Truncate(time.Second)))
	}
	r.Age = max(age, 0).Truncate(time.Second)
	status := OK
	switch {
	case age > r.Crit:
		status = Critical
	case age > r.Warn, rec.state != "" && rec.state != "live":
		status = Warning
	}
	msg := fmt.Sprintf("source %s ago", r.Age)
	if rec.serial != "" {
		msg += ", serial " + rec.serial
	}
	if rec.state != "" {
		msg += ", state " + rec.state
	}
	return r.with(status, msg)
}

// Line returns the plugin's one line of output: status, message and, after a bar, performance data (age with its thresholds, the serial as a counter).
func (r Report) Line() string {
	var b strings.Builder
	message := strings.NewReplacer("\n", " ", "|", "/").Replace(r.Message)
	fmt.Fprintf(&b, "FRESHNESS %s - %s", r.Status, message)
	if !r.Source.IsZero() {
		fmt.Fprintf(&b, " | age=%ds;%s;%s;0", int64(r.Age/time.Second), seconds(r.Warn), seconds(r.Crit))
		if r.Serial != "" {
			fmt.Fprintf(&b, " serial=%sc", r.Serial)
		}
	}
	return b.String()
}

// seconds writes a duration as performance data wants it: a plain number of seconds.
func seconds(d time.Duration) string { return fmt.Sprint(d.Seconds()) }

// MarshalJSON writes the report with times in RFC 3339 and durations in seconds.
func (r Report) MarshalJSON() ([]byte, error) {
	type out struct {
		Status  string   `json:"status"`
		Message string   `json:"message"`
		Name    string   `json:"name"`
		Server  string   `json:"server"`
		Warn    float64  `json:"warn_seconds"`
		Crit    float64  `json:"crit_seconds"`
		Source  string   `json:"source,omitempty"`
		Age     *float64 `json:"age_seconds,omitempty"`
		Serial  string   `json:"serial,omitempty"`
		State   string   `json:"state,omitempty"`
	}
	o := out{
		Status: r.Status.String(), Message: r.Message, Name: r.Name, Server: r.Server,
		Warn: r.Warn.Seconds(), Crit: r.Crit.Seconds(), Serial: r.Serial, State: r.State,
	}
	if !r.Source.IsZero() {
		age := r.Age.Seconds()
		o.Source, o.Age = r.Source.UTC().Format(time.RFC3339), &age
	}
	return json.Marshal(o)
}
