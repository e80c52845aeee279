// Package nbd is a disk for tests of power cuts: a small server of the Network
// Block Device protocol (NBD, doc/proto.md of the NBD project) behind which
// stands a [Disk], the model of a disk with a volatile write cache. A virtual
// machine is given the server's socket in place of an image file; when its
// power is cut, [Disk.Cut] decides what of the cache has reached the medium.
//
// Killing a virtual machine alone cuts nothing: what it wrote is in the host's
// memory and will be in the file. Here a write is durable only when a flush has
// covered it.
//
// # The model
//
// A write that was answered is in the cache. A flush puts on the medium every
// write that was answered before the flush arrived, and a write with the bit
// for forced unit access (FUA) puts itself there. At the cut each write in the
// cache is kept, dropped, or torn at sectors of 512 bytes, and a sector of
// which the cache held several versions has any of them. The cache holds at
// most [CacheBytes]; beyond that the oldest writes go to the medium. A request
// may overtake a write that was sent before it and is not yet answered: so
// little does a disk promise, and a flush that does so does not cover it.
//
// The model has no garbage: a sector is old or new, never a third thing.
//
// # The protocol
//
// Numbers are big-endian. The server speaks first ("fixed newstyle"):
//
//	server   8  "NBDMAGIC"
//	         8  "IHAVEOPT"
//	         2  flags: 1 fixed newstyle, 2 no zeroes
//	client   4  flags, the same bits
//
// Then the client sends options until one of them begins the transmission:
//
//	client   8  "IHAVEOPT"
//	         4  option: 1 export name, 2 abort, 3 list, 6 info, 7 go
//	         4  length of the data
//	            data; of info and go: 4 length of the name, the name,
//	            2 number of requests, 2 for each
//	server   8  0x0003e889045565a9
//	         4  the option
//	         4  type: 1 ack, 2 server, 3 info, 1<<31+n an error
//	         4  length of the data
//	            data; of info: 2 kind (0 export: 8 size, 2 flags;
//	            3 block size: 4 least, 4 preferred, 4 most)
//
// Export name is answered without a reply header: 8 size, 2 flags, and 124
// zeros unless the client has said "no zeroes". In the transmission:
//
//	client   4  0x25609513
//	         2  flags: 1 FUA
//	         2  command: 0 read, 1 write, 2 disconnect, 3 flush, 4 trim,
//	            6 write zeroes
//	         8  cookie
//	         8  offset in bytes
//	         4  length in bytes
//	            the data of a write
//	server   4  0x67446698
//	         4  0, or an errno
//	         8  the request's cookie
//	            the data of a read
//
// Replies may come in another order than the requests.
package nbd
