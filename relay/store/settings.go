package store

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// maxSetting bounds the value of a setting in bytes.
const maxSetting = 1 << 20

// Setting returns what SaveSetting last kept under name, nil if nothing. After
// a damaged database was set aside there is nothing.
func (s *Store) Setting(name string) (value []byte, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		value = bytes.Clone(tx.Bucket(bucketSettings).Get([]byte(name)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: setting %s: %w", name, err)
	}
	return value, nil
}

// SaveSetting keeps a value of at most 1 MiB and returns when it is durable; a
// nil value forgets the name. Names come from Gatepost itself. After an error
// the old value still counts.
func (s *Store) SaveSetting(name string, value []byte) error {
	if len(value) > maxSetting {
		return fmt.Errorf("store: setting %s: %d bytes are more than %d", name, len(value), maxSetting)
	}
	err := s.update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSettings)
		if value == nil {
			return b.Delete([]byte(name))
		}
		return b.Put([]byte(name), value)
	})
	if err != nil {
		return fmt.Errorf("store: setting %s: %w", name, err)
	}
	return nil
}
