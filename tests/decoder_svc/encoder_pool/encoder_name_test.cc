#include "decoder_svc/encoder_pool/encoder_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace softsplice {
namespace {

using testing::HasSubstr;

TEST(EncoderName, AddressesStandForThemselves) {
  for (const char* text : {"127.0.0.1:50051", "[::1]:50051", "unix:/run/encoder.sock",
                           "unix:encoder.sock", "unix:///run/encoder.sock"}) {
    const auto name = ParseEncoderName(text);
    ASSERT_TRUE(name.ok()) << name.status();
    EXPECT_FALSE(name->named()) << text;
    EXPECT_EQ(name->address, text);
    EXPECT_EQ(name->text, text);
  }
  EXPECT_EQ(ParseEncoderName("dns:///10.0.0.7:1")->address, "10.0.0.7:1");
}

TEST(EncoderName, NamesAreResolved) {
  struct Case {
    const char* text;
    const char* host;
    const char* port;
    const char* server;
  };
  for (const Case& c : {Case{"localhost:50051", "localhost", "50051", ""},
                        Case{"dns:///encoders.media.svc:1", "encoders.media.svc", "1", ""},
                        Case{"dns://10.0.0.2/encoders:65535", "encoders", "65535", "10.0.0.2"},
                        Case{"dns://10.0.0.2:5353/a_b-c.d:9", "a_b-c.d", "9", "10.0.0.2:5353"}}) {
    const auto name = ParseEncoderName(c.text);
    ASSERT_TRUE(name.ok()) << name.status();
    EXPECT_TRUE(name->named());
    EXPECT_EQ(name->host, c.host);
    EXPECT_EQ(name->port, c.port);
    EXPECT_EQ(name->server, c.server);
  }
}

TEST(EncoderName, RefusesTheRestWithASentence) {
  struct Case {
    const char* text;
    const char* why;
  };
  for (const Case& c : {
           Case{"", "\"\" names no encoder"},
           Case{"foo", "has no port"},
           Case{"foo:", "has no port"},
           Case{"foo:http", "has no port"},
           Case{"foo:0", "has no port"},
           Case{"foo:65536", "has no port"},
           Case{"foo: 80", "has no port"},
           Case{":50051", "has no host name"},
           Case{"::1:50051", "IPv6 in brackets"},
           Case{"[::1:50051", "IPv6 in brackets"},
           Case{"[foo]:50051", "has no host name"},
           Case{"foo bar:50051", "has no host name"},
           Case{"-foo:50051", "has no host name"},
           Case{"unix:", "has no path"},
           Case{"http://foo:50051", "begins with http://"},
           Case{"dns://foo:50051", "has no name"},
           Case{"dns:///foo", "has no port"},
           Case{"dns://server/foo:50051", "DNS server \"server\""},
       }) {
    const absl::Status status = ParseEncoderName(c.text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.why));
    EXPECT_THAT(std::string(status.message()), HasSubstr("HOST:PORT"));
  }
}

}  // namespace
}  // namespace softsplice
