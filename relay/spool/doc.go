// Package spool keeps messages on disk between the 250 that Gatepost says and
// the last word about each recipient. It is an append-only log with group
// commit: [Log.Append] and [Log.Record] return only after a flush that covers
// what they wrote, and one flush covers everybody who waits (RFC 5321,
// Sections 4.2.5 and 6.1: after the 250 the message is ours).
//
// It does not decide when to try again (relay/queue does), does not parse
// messages, and is not a mailbox: the bytes of a message go out as they came
// in.
//
// # Files
//
// The folder holds segments, NNN.seg, where NNN is the number of the segment
// as 16 hexadecimal digits; spares, NNN.spare, which are allocated files that
// will become segments; and what was set aside: NNN.seg.bad and
// quarantine-*.bin. Every number is little endian.
//
// A segment starts with a block of 4096 bytes:
//
//	 0   8  "GPSPOOL1"
//	 8   8  number of the segment
//	16   8  tag: random, the same in each record of this use of the file
//	24   8  size of the file
//	32   8  the highest message number used before this segment
//	40   8  number of the segment before, 0 if none
//	48   8  how much of that segment was durable when this one was begun
//	56   4  CRC-32C of the 56 bytes before
//
// Records follow, each at a multiple of 8:
//
//	 0   4  "GPR1"
//	 4   1  kind: 1 message, 2 outcome, 3 part, 4 dead, 5 mark
//	 5   3  version: counts the outcome records of a message, else zero
//	 8   8  tag of the segment
//	16   8  message number (the ID in binary form)
//	24   4  how much of this segment was durable when this was written
//	28   4  length of the body
//	32   4  length of the meta data
//	36   4  CRC-32C of the body
//	40   4  CRC-32C of the meta data
//	44   4  CRC-32C of the 44 bytes before
//	48      body, meta data, zeros up to a multiple of 8
//
// A message of at most one chunk (256 KiB in segments of 4 MiB and more) is
// one record: its bytes are the body, its envelope as JSON the meta data. A
// longer one is streamed: each chunk is written once, as a part record whose
// meta data is its index in 4 bytes, and the message record, which comes last
// and alone makes the parts count, has no body and the number of parts in its
// JSON. An outcome record has a JSON list of [Outcome] as meta data; of two
// about one recipient a last word counts, or else the one with the higher
// version, in whatever order they are found. A dead record says that all
// recipients of the message are done. A mark says only how much is durable.
//
// After each flush the next record starts in a new block: a block that a
// flush has covered is never written again, so that a power cut can tear
// nothing that was promised. (It costs room in the segment and nothing else:
// the disk would be sent the whole block again.)
//
// # Commit
//
// Who hands in a record while nobody writes, writes and flushes it at once;
// what is handed in meanwhile shares the next flush. Outcomes wait about two
// flushes long for a message to share the flush with: a cut before it costs a
// second delivery at worst, which it does anyway between the peer's 250 and
// our flush.
//
// # Start
//
// Open reads the header and the meta data of every record. The last records of
// the last segment may be torn; nobody was promised anything about them, and
// they are cut off. Which bytes were promised is written into each later
// record and into the header of the next segment. The bodies of records that
// the next segment's header covers cannot be torn: they are not read at the
// start, but verified whenever somebody reads them. A promised record that
// cannot be read is copied to a quarantine file and reported once; what else
// is in its segment is copied forward, and the segment is removed. One of
// which only the body is damaged stays, so that its sender can be told: to
// open it gives [ErrDamaged]. Because a record needs the segment's secret tag,
// neither an old use of the file nor the text of a message is ever taken for
// a record.
//
// The index in memory says where each record is, and holds neither envelopes
// nor outcomes: about 190 bytes for a message. [Log.All] and [Log.Get] read
// them from the disk.
//
// # Space
//
// A segment without anything live becomes a spare. One of which less than half
// is live is copied forward first, each record word for word, the copies
// flushed before the original goes. A record that says that a message is done
// is kept as long as any copy of that message is on the disk. New spares are
// filled with zeros beforehand: a flush into a block that was never written
// also writes the file system's journal.
//
// At 95 per cent, and when no spare can be had and the active segment is three
// quarters full, new messages are refused; the rest is for outcomes.
package spool
