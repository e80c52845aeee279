package led

import "slices"

// A cell says what one row wants of one light.
type cell int

// What a row can want. Codes are positive numbers: that many flashes.
const (
	asIs          cell = -iota // no wish: the next row decides
	cellOff                    // dark
	cellOn                     // steady
	cellSlow                   // 1 s on, 1 s off
	cellFast                   // 200 ms on, 200 ms off
	cellWink                   // on, and a short gap for each message
	cellDouble                 // on, and two short gaps every ten seconds
	cellOnThenOff              // on for three seconds, then dark
	cellLease                  // slow until there is a lease, then on
	cellLink                   // slow with a link, dark without one
	cellFind                   // one long flash and two short ones
)

// A rule is one row of the table: a cell per light for boards with four, two
// and one lights.
type rule struct {
	row  Row
	four [4]cell // status, network, mail, alert
	two  [2]cell // status, alert
	one  [1]cell // status
}

// rules is the table, highest priority first. The last row always holds.
//
// The alarms have no wish for the network light, though the network is there
// in most of them: it tells of the network alone, so that a box with a full
// disk and no network does not say that it has one.
func rules() []rule {
	return []rule{
		{RowButtonNothing, [4]cell{cellSlow, cellSlow, cellSlow, cellSlow}, [2]cell{cellSlow, cellSlow}, [1]cell{cellSlow}},
		{RowButtonPassword, [4]cell{cellFast, cellOff, cellOff, cellFast}, [2]cell{cellFast, cellOff}, [1]cell{cellFast}},
		{RowButtonReset, [4]cell{cellOff, cellOff, cellOff, cellOn}, [2]cell{cellOff, cellOn}, [1]cell{cellOnThenOff}},
		{RowUpdating, [4]cell{cellFast, asIs, asIs, cellOff}, [2]cell{cellFast, cellOff}, [1]cell{cellFast}},
		{RowFind, [4]cell{cellFind, cellFind, cellFind, cellFind}, [2]cell{cellFind, cellFind}, [1]cell{cellFind}},
		{RowBooting, [4]cell{cellSlow, cellLease, cellOff, cellOff}, [2]cell{cellSlow, cellOff}, [1]cell{cellSlow}},
		{RowDead, [4]cell{cellOff, cellOff, cellOff, cellOn}, [2]cell{cellOff, cellOn}, [1]cell{cellOff}},
		{RowHeld, [4]cell{cellOn, asIs, asIs, 2}, [2]cell{cellOn, 2}, [1]cell{2}},
		{RowDiskFull, [4]cell{cellOn, asIs, asIs, 4}, [2]cell{cellOn, 4}, [1]cell{4}},
		{RowBacklog, [4]cell{cellOn, asIs, cellSlow, 3}, [2]cell{cellOn, 3}, [1]cell{3}},
		{RowRolledBack, [4]cell{cellOn, asIs, asIs, 5}, [2]cell{cellOn, 5}, [1]cell{5}},
		{RowNoNetwork, [4]cell{cellOn, cellLink, cellOff, 1}, [2]cell{cellOn, 1}, [1]cell{1}},
		{RowUpdateReady, [4]cell{cellDouble, asIs, asIs, cellOff}, [2]cell{cellDouble, cellOff}, [1]cell{cellDouble}},
		{RowHealthy, [4]cell{cellOn, cellOn, cellWink, cellOff}, [2]cell{cellWink, cellOff}, [1]cell{cellWink}},
	}
}

// cells gives the rule's cells for a board with n lights.
func (r rule) cells(n int) []cell {
	switch n {
	case 4:
		return r.four[:]
	case 2:
		return r.two[:]
	case 1:
		return r.one[:]
	}
	return nil
}

// resolve gives the pattern of each of n lights while the given rows hold.
// The highest row that has a wish for a light wins. If its wish is a code,
// the codes of the lower rows are played in turn with it.
func resolve(active []rule, n int, c Conditions) []Pattern {
	patterns := make([]Pattern, n)
	for light := range patterns {
		var codes []cell
		for _, r := range active {
			wish := r.cells(n)[light]
			if wish > 0 {
				codes = append(codes, wish)
				continue
			}
			if wish != asIs && len(codes) == 0 {
				patterns[light] = wish.pattern(c)
				break
			}
		}
		if len(codes) > 0 {
			patterns[light] = codePattern(codes)
		}
	}
	return patterns
}

// pattern turns a wish that is no code into what is shown.
func (w cell) pattern(c Conditions) Pattern {
	switch w {
	case cellOn:
		return Pattern{kind: on}
	case cellSlow:
		return Pattern{kind: slow}
	case cellFast:
		return Pattern{kind: fast}
	case cellWink:
		return Pattern{kind: wink}
	case cellDouble:
		return Pattern{kind: double}
	case cellFind:
		return Pattern{kind: find}
	case cellOnThenOff:
		return Pattern{kind: onThenOff}
	case cellLease:
		if c.Lease {
			return Pattern{kind: on}
		}
		return Pattern{kind: slow}
	case cellLink:
		if c.Link {
			return Pattern{kind: slow}
		}
	}
	return Pattern{kind: off}
}

// active gives the rules that hold.
func active(c Conditions) []rule {
	return slices.DeleteFunc(rules(), func(r rule) bool { return !c.holds(r.row) })
}
