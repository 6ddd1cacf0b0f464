// What UnrealPlayer.cpp uses of Unreal Engine 5, declared as its headers declare it: enough to compile, not to run.
#pragma once
#include <cstdint>
#include <memory>
#include <utility>

using uint8 = uint8_t;
#define TEXT(text) text
#define UTF8_TO_TCHAR(text) (text)
#define UE_LOG(Category, Verbosity, ...) LogStub(__VA_ARGS__)
template <class... Values> void LogStub(const char*, const Values&...) {}

template <class T> struct TUniquePtr : std::unique_ptr<T> {
  using std::unique_ptr<T>::unique_ptr;
  void Reset() { this->reset(); }
};
template <class T, class... Values> TUniquePtr<T> MakeUnique(Values&&... values) { return TUniquePtr<T>(new T(std::forward<Values>(values)...)); }
struct FColor { uint8 B, G, R, A; };
template <class T> struct TArray { T* GetData(); };
struct FTextureRenderTargetResource { bool ReadPixels(TArray<FColor>&); int GetSizeX() const; int GetSizeY() const; };
struct UTextureRenderTarget2D { FTextureRenderTargetResource* GameThread_GetRenderTargetResource(); };
struct FKey {};
struct EKeys { static const FKey W, A, S, D, E, R, SpaceBar, LeftShift, LeftMouseButton, RightMouseButton, MouseX, MouseY; };
enum EInputEvent { IE_Pressed, IE_Released };
struct FInputKeyParams {
  FInputKeyParams(FKey, EInputEvent, double, bool bGamepad = false);
  FInputKeyParams(FKey, double Delta, float DeltaTime, int32_t NumSamples, bool bGamepad = false);
};
struct APlayerController { bool InputKey(const FInputKeyParams&); };
struct UWorld { APlayerController* GetFirstPlayerController(); };
enum ELevelTick { LEVELTICK_All };
struct FActorComponentTickFunction {};
namespace EEndPlayReason { enum Type { Destroyed }; }
struct UActorComponent {
  virtual ~UActorComponent() = default;
  virtual void BeginPlay() {}
  virtual void TickComponent(float, ELevelTick, FActorComponentTickFunction*) {}
  virtual void EndPlay(EEndPlayReason::Type) {}
  UWorld* GetWorld() const;
};
struct UUnrealPlayer : UActorComponent {
  using Super = UActorComponent;
  void BeginPlay() override;
  void TickComponent(float, ELevelTick, FActorComponentTickFunction*) override;
  void EndPlay(EEndPlayReason::Type) override;
  void Hold(const gi::State&);
  void Press(APlayerController*, const FKey&, bool, bool);
  UTextureRenderTarget2D* RenderTarget = nullptr;
  TUniquePtr<gi::Session> Session;
  gi::State Held;
};
