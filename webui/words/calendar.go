package words

import (
	"strconv"
	"strings"
	"time"
)

// calendar holds how a language writes dates and numbers.
type calendar struct {
	Weekdays []string `json:"weekdays"` // Sunday first
	Short    []string `json:"short"`    // the same, short
	Months   []string `json:"months"`   // short, January first
	Date     string   `json:"date"`     // "{day} {month}"
	DateYear string   `json:"date_year"`
	Group    string   `json:"group"`   // between thousands
	Decimal  string   `json:"decimal"` // before the fraction
}

func (v Voice) zone() *time.Location {
	if v.Zone == nil {
		return time.UTC
	}
	return v.Zone
}

// days is how many calendar days t lies after now in the office's time zone.
func (v Voice) days(t time.Time) int {
	date := func(t time.Time) time.Time {
		y, m, d := t.In(v.zone()).Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	}
	return int(date(t).Sub(date(v.Now)).Hours() / 24)
}

// Time writes a time for reading: the hour alone today, weekday and hour in the
// week around now, date and hour else.
func (v Voice) Time(t time.Time) string {
	t = t.In(v.zone())
	hour := t.Format("15:04")
	switch d := v.days(t); {
	case d == 0:
		return hour
	case d > -7 && d < 7:
		return v.Book.calendar.Weekdays[t.Weekday()] + " " + hour
	}
	return v.Day(t) + " " + hour
}

// At is the time alone as a Text.
func (v Voice) At(t time.Time) Text {
	if t.IsZero() {
		return nil
	}
	return Text{{Text: v.Time(t), Time: t}}
}

// Day writes the date of t: "3 Feb", with the year when it is not this one.
func (v Voice) Day(t time.Time) string {
	c := v.Book.calendar
	t = t.In(v.zone())
	form := c.Date
	if t.Year() != v.Now.In(v.zone()).Year() {
		form = c.DateYear
	}
	return strings.NewReplacer(
		"{day}", strconv.Itoa(t.Day()), "{month}", c.Months[t.Month()-1], "{year}", strconv.Itoa(t.Year()),
	).Replace(form)
}

// Today writes the present weekday, date, hour and time zone, for the top of a
// page.
func (v Voice) Today() string {
	t := v.Now.In(v.zone())
	return v.Book.calendar.Short[t.Weekday()] + " " + v.Day(t) + ", " + t.Format("15:04 MST")
}

// Number writes n with its thousands apart.
func (v Voice) Number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + v.Book.calendar.Group + s[i:]
	}
	return s
}

// Size writes a number of bytes as kB or MB.
func (v Voice) Size(n int64) string {
	switch {
	case n < 1000:
		return v.Number(n) + " B"
	case n < 1_000_000:
		return v.Number((n+500)/1000) + " kB"
	}
	tenths := (n + 50_000) / 100_000
	return v.Number(tenths/10) + v.Book.calendar.Decimal + strconv.FormatInt(tenths%10, 10) + " MB"
}

// ZoneName names the office's time zone: "UTC", "CET (Europe/Berlin)".
func (v Voice) ZoneName() string {
	short, full := v.Now.In(v.zone()).Format("MST"), v.zone().String()
	if short == full || full == "Local" {
		return short
	}
	return short + " (" + full + ")"
}

// IsToday reports whether t is on the present day of the office's time zone, so
// that Time writes the hour alone.
func (v Voice) IsToday(t time.Time) bool { return v.days(t) == 0 }
